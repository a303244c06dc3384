package benchmarks

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sync/errgroup"

	"satchel/store"
	"satchel/store/chunk"
	"satchel/store/disk"
)

// newStore makes an empty store.
func newStore(b *testing.B) *disk.Store {
	b.Helper()
	s, err := disk.Create(filepath.Join(b.TempDir(), "store"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return s
}

// sampleChunks returns n different chunks of size bytes that compress about
// as well as program files do.
func sampleChunks(r *rand.Rand, n, size int) [][]byte {
	words := make([][]byte, 1<<10)
	for i := range words {
		words[i] = make([]byte, 4+r.IntN(24))
		for j := range words[i] {
			words[i][j] = byte(r.Uint32())
		}
	}
	chunks := make([][]byte, n)
	for i := range chunks {
		b := make([]byte, 0, size+32)
		for len(b) < size {
			b = append(b, words[r.IntN(len(words))]...)
			b = append(b, byte(r.Uint32()))
		}
		chunks[i] = b[:size]
	}
	return chunks
}

// putAll stores chunks from as many goroutines as there are cores.
func putAll(b *testing.B, s *disk.Store, chunks [][]byte, batch int) []store.ID {
	b.Helper()
	ctx := context.Background()
	w, err := s.Begin(ctx, "benchmark")
	if err != nil {
		b.Fatal(err)
	}
	ids := make([]store.ID, len(chunks))
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i := 0; i < len(chunks); i += batch {
		end := min(i+batch, len(chunks))
		g.Go(func() error {
			got, err := w.Put(ctx, chunks[i:end]...)
			copy(ids[i:], got)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		b.Fatal(err)
	}
	if err := w.Flush(ctx); err != nil {
		b.Fatal(err)
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	return ids
}

// BenchmarkStorePut measures putting new chunks, durably, from all cores.
func BenchmarkStorePut(b *testing.B) {
	for _, c := range []struct{ size, count, batch int }{
		{4 << 10, 16 << 10, 1}, {4 << 10, 16 << 10, 32}, {64 << 10, 1 << 10, 1}, {64 << 10, 1 << 10, 16},
	} {
		b.Run(fmt.Sprintf("%dKiB/batch=%d", c.size>>10, c.batch), func(b *testing.B) {
			chunks := sampleChunks(rand.New(rand.NewPCG(1, 1)), c.count, c.size)
			b.SetBytes(int64(c.size * c.count))
			for b.Loop() {
				b.StopTimer()
				s := newStore(b)
				b.StartTimer()
				putAll(b, s, chunks, c.batch)
			}
		})
	}
}

// BenchmarkStorePutAgain measures putting chunks that are present.
func BenchmarkStorePutAgain(b *testing.B) {
	for _, batch := range []int{1, 32} {
		b.Run(fmt.Sprintf("4KiB/batch=%d", batch), func(b *testing.B) {
			chunks := sampleChunks(rand.New(rand.NewPCG(1, 1)), 16<<10, 4<<10)
			s := newStore(b)
			putAll(b, s, chunks, 32)
			b.SetBytes(int64(len(chunks)) * 4 << 10)
			for b.Loop() {
				putAll(b, s, chunks, batch)
			}
		})
	}
}

// BenchmarkStoreGet measures reading chunks in the order in which they were
// put, and in random order, from a store that was just opened.
func BenchmarkStoreGet(b *testing.B) {
	const size, count = 64 << 10, 2 << 10
	r := rand.New(rand.NewPCG(1, 1))
	full := newStore(b)
	ids := putAll(b, full, sampleChunks(r, count, size), 16)
	random := make([]store.ID, count)
	for i, j := range r.Perm(count) {
		random[i] = ids[j]
	}
	for name, order := range map[string][]store.ID{"sequential": ids, "random": random} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(size * count)
			for b.Loop() {
				s, err := disk.Open(full.Dir())
				if err != nil {
					b.Fatal(err)
				}
				for _, id := range order {
					if _, err := s.Get(b.Context(), id); err != nil {
						b.Fatal(err)
					}
				}
				s.Close()
			}
		})
	}
}

// BenchmarkSplit measures cutting and hashing.
func BenchmarkSplit(b *testing.B) {
	d, err := chunk.NewDomain()
	if err != nil {
		b.Fatal(err)
	}
	data := sampleChunks(rand.New(rand.NewPCG(1, 1)), 1, 64<<20)[0]
	s := chunk.NewSplitter(d)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		err := s.Split(bytes.NewReader(data), func(c []byte) error {
			d.ID(c)
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}
