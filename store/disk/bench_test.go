package disk

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"satchel/store"
	"satchel/store/pack"
)

// cpuTime returns how much processor time this process has used.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// fill puts n bytes of chunks of all sizes, half of them compressible.
func fill(b *testing.B, s *Store, n int) (ids []store.ID, size int64) {
	b.Helper()
	r := seeded(90)
	w, err := s.Begin(b.Context(), "bench")
	if err != nil {
		b.Fatal(err)
	}
	defer w.Close()
	for size < int64(n) {
		chunks := randomChunks(r, 32, 40<<r.IntN(13))
		put, err := w.Put(b.Context(), chunks...)
		if err != nil {
			b.Fatal(err)
		}
		ids = append(ids, put...)
		for _, c := range chunks {
			size += int64(len(c))
		}
	}
	if err := w.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	return ids, size
}

// BenchmarkCopy copies a store of 200 MB to an empty one, frame by frame, with
// two that take in.
func BenchmarkCopy(b *testing.B) {
	s := newTestStoreIn(b, memoryDir(b))
	ids, size := fill(b, s, 200<<20)
	b.SetBytes(size)
	var cpu time.Duration
	for b.Loop() {
		b.StopTimer()
		peer := newPeer(b, s)
		b.StartTimer()
		before := cpuTime(b)
		if err := copyAll(b.Context(), s, peer, ids); err != nil {
			b.Fatal(err)
		}
		cpu += cpuTime(b) - before
	}
	b.ReportMetric(cpu.Seconds()/float64(b.N), "cpu-s/op")
	b.ReportMetric(float64(len(ids)), "chunks")
}

func copyAll(ctx context.Context, from, to *Store, ids []store.ID) error {
	w, err := to.Begin(ctx, "bench")
	if err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(2)
	err = from.Frames(ctx, ids, func(f []byte) error {
		f = slices.Clone(f)
		g.Go(func() error { _, err := w.PutFrame(gctx, f); return err })
		return nil
	})
	return errors.Join(err, g.Wait(), w.Flush(ctx), w.Close())
}

// BenchmarkLookup measures what it costs to ask for a few chunks.
func BenchmarkLookup(b *testing.B) {
	s := newTestStoreIn(b, memoryDir(b))
	ids, _ := fill(b, s, 50<<20)
	for _, n := range []int{1, 20, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				if _, err := s.Has(b.Context(), ids[:n]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkDevices has many devices push to one store at a time.
func BenchmarkDevices(b *testing.B) {
	b.Run("memory", func(b *testing.B) { benchDevices(b, newTestStoreIn(b, memoryDir(b)), 200) })
	b.Run("disk", func(b *testing.B) { benchDevices(b, newTestStore(b), 200) })
}

func benchDevices(b *testing.B, s *Store, devices int) {
	known, _ := fill(b, s, 20<<20)
	var left atomic.Int64
	left.Store(int64(b.N))
	worst := make([]time.Duration, devices)
	var g errgroup.Group
	before := cpuTime(b)
	b.ResetTimer()
	for i := range devices {
		head, err := s.Heads().Create(b.Context(), fmt.Sprintf("device %d", i))
		if err != nil {
			b.Fatal(err)
		}
		g.Go(func() error {
			r := seeded(uint64(1000 + i))
			for left.Add(-1) >= 0 {
				began := time.Now()
				if err := push(b.Context(), s, r, known, &head); err != nil {
					return err
				}
				worst[i] = max(worst[i], time.Since(began))
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric((cpuTime(b)-before).Seconds()*1000/float64(b.N), "cpu-ms/op")
	b.ReportMetric(slices.Max(worst).Seconds(), "worst-s")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pushes/s")
}

// push does to a store what a server does when a device pushes.
func push(ctx context.Context, s *Store, r *rand.Rand, known []store.ID, head *store.Head) (err error) {
	w, err := s.Begin(ctx, "push")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	from := r.IntN(len(known) - 100)
	if _, err := w.Has(ctx, known[from:from+100]); err != nil {
		return err
	}
	var last store.ID
	for range 10 {
		chunks := randomChunks(r, 4, 4000)
		ids, err := w.PutFrame(ctx, pack.AppendFrame(nil, slices.Concat(chunks...), lensOf(chunks)))
		if err != nil {
			return err
		}
		last = ids[0]
	}
	if err := w.Flush(ctx); err != nil {
		return err
	}
	if err := s.Heads().CompareAndSwap(ctx, store.Move{Layer: head.Layer, From: head.Version, To: last}); err != nil {
		return err
	}
	head.Version = last
	return nil
}

func lensOf(chunks [][]byte) []int {
	lens := make([]int, len(chunks))
	for i, c := range chunks {
		lens[i] = len(c)
	}
	return lens
}
