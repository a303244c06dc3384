package benchmarks

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"satchel/store"
	"satchel/store/durable"
	"satchel/store/index"
	"satchel/store/pack"
)

// Where BenchmarkIndex is told what to do. The sizes are millions of chunks,
// separated by commas. Filled indexes are kept in the directory, if one is
// given, and taken from there the next time.
const (
	indexSizesEnv = "SATCHEL_BENCH_INDEX_MILLIONS"
	indexDirEnv   = "SATCHEL_BENCH_INDEX_DIR"
)

const (
	packChunks  = 3_000      // of a pack
	frameChunks = 8          // of a frame
	maxShuffled = 20_000_000 // chunks up to which packs are filled as a store fills them
)

// A population is n chunks whose IDs look random but are in order: chunk i has
// the i-th.
type population struct{ n int }

func mix(v uint64) uint64 { // splitmix64
	v += 0x9e3779b97f4a7c15
	v = (v ^ v>>30) * 0xbf58476d1ce4e5b9
	v = (v ^ v>>27) * 0x94d049bb133111eb
	return v ^ v>>31
}

func (p population) id(i int) (id store.ID) {
	step := math.MaxUint64 / uint64(p.n)
	binary.BigEndian.PutUint64(id[:], uint64(i)*step+mix(uint64(i))%step)
	for at := 8; at < len(id); at += 8 {
		binary.BigEndian.PutUint64(id[at:], mix(uint64(i)<<3+uint64(at)))
	}
	return id
}

// stranger returns an ID that is none of the population's.
func stranger(r *rand.Rand) (id store.ID) {
	for at := 0; at < len(id); at += 8 {
		binary.BigEndian.PutUint64(id[at:], r.Uint64())
	}
	return id
}

// framesOf lays chunks of 16 KiB out as the frames of a pack.
func framesOf(ids []store.ID) (frames []pack.Frame) {
	offset := int64(16)
	for len(ids) > 0 {
		n := min(frameChunks, len(ids))
		f := pack.Frame{Offset: offset, Len: n << 13}
		for _, id := range ids[:n] {
			f.Chunks = append(f.Chunks, pack.Chunk{ID: id, Len: 16 << 10})
		}
		frames, ids, offset = append(frames, f), ids[n:], offset+int64(f.Len)
	}
	return frames
}

// fill names the population in packs. Those of a large one follow the order of
// the IDs, as none do in a store: otherwise each of them would change nearly
// every page, and filling would take hours.
func (p population) fill(b *testing.B, x *index.Index) {
	b.Helper()
	order, of, atOnce := func(i int) int { return i }, 10*packChunks, 1
	if p.n <= maxShuffled {
		perm := rand.New(rand.NewPCG(1, 2)).Perm(p.n)
		order, of, atOnce = func(i int) int { return perm[i] }, packChunks, 64
	}
	var g errgroup.Group
	g.SetLimit(atOnce)
	for from := 0; from < p.n; from += of {
		ids := make([]store.ID, 0, of)
		for i := from; i < min(from+of, p.n); i++ {
			ids = append(ids, p.id(order(i)))
		}
		g.Go(func() error {
			name := fmt.Sprintf("0123456789abcdef-%06d", from/of)
			return x.Add(context.Background(), name, 48<<20, framesOf(ids))
		})
	}
	if err := g.Wait(); err != nil {
		b.Fatal(err)
	}
}

// open returns an index that holds the population, and its path.
func (p population) open(b *testing.B) (*index.Index, string) {
	b.Helper()
	dir := os.Getenv(indexDirEnv)
	if dir == "" {
		dir = b.TempDir()
	}
	path := filepath.Join(dir, fmt.Sprintf("index-%d.db", p.n))
	if _, err := os.Stat(path); err == nil {
		return index.New(path, durable.FS{}), path
	} else if !errors.Is(err, fs.ErrNotExist) {
		b.Fatal(err)
	}
	filling := index.New(path+".filling", durable.FS{})
	if err := filling.Create(path + ".new"); err != nil {
		b.Fatal(err)
	}
	start := time.Now()
	p.fill(b, filling)
	b.Logf("%d chunks added in %v: %.0f/s", p.n, time.Since(start).Round(time.Second), float64(p.n)/time.Since(start).Seconds())
	if err := os.Rename(path+".filling", path); err != nil {
		b.Fatal(err)
	}
	return index.New(path, durable.FS{}), path
}

// BenchmarkIndex measures the index of a large store: looking up and adding,
// what it takes on disk, and what it takes in memory.
func BenchmarkIndex(b *testing.B) {
	for _, s := range strings.Split(cmp.Or(os.Getenv(indexSizesEnv), "1"), ",") {
		millions, err := strconv.Atoi(s)
		if err != nil {
			b.Fatalf("%s: %v", indexSizesEnv, err)
		}
		b.Run(fmt.Sprintf("chunks=%dM", millions), func(b *testing.B) {
			p := population{millions * 1_000_000}
			x, path := p.open(b)
			runtime.GC()
			debug.FreeOSMemory()
			b.Run("memory", func(b *testing.B) { p.memory(b, x, path) })
			for _, batch := range []int{0, 1, 64, 1 << 10, 1 << 12, 1 << 14} {
				b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) { p.lookups(b, x, batch) }) // 0: opening alone
			}
			b.Run("walk", func(b *testing.B) { p.walk(b, x) })
			for _, chunks := range []int{300, 3000} {
				b.Run(fmt.Sprintf("add=%d", chunks), func(b *testing.B) { p.adds(b, x, chunks) })
			}
		})
	}
}

// memory looks chunks up all over the index, and reports what of it stays in
// memory. Mapped pages are pages of the file that the process has in use; they
// are the kernel's cache, which it takes back when it needs the memory.
func (p population) memory(b *testing.B, x *index.Index, path string) {
	const batch, stride = 1 << 12, 16 // a leaf page holds more chunks than that
	info, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		resetPeak(b)
		r := rand.New(rand.NewPCG(3, 4))
		ids := make([]store.ID, batch)
		for range p.n / stride / batch {
			for i := range ids {
				ids[i] = p.id(r.IntN(p.n))
			}
			if _, err := x.Lookup(b.Context(), ids); err != nil {
				b.Fatal(err)
			}
		}
	}
	n := float64(p.n)
	b.ReportMetric(float64(info.Size())/n, "disk-B/chunk")
	b.ReportMetric(float64(statusOf(b, "RssAnon"))/n, "heap-B/chunk")
	b.ReportMetric(float64(statusOf(b, "VmRSS"))/n, "rss-B/chunk")
	b.ReportMetric(float64(statusOf(b, "VmHWM"))/n, "peak-B/chunk")
}

// lookups looks up random chunks, half of which are in the index, from one
// goroutine.
func (p population) lookups(b *testing.B, x *index.Index, batch int) {
	r := rand.New(rand.NewPCG(5, 6))
	ids := make([]store.ID, batch)
	start, n := cpuTime(b), 0
	for b.Loop() {
		for i := range ids {
			ids[i] = stranger(r)
			if i%2 == 0 {
				ids[i] = p.id(r.IntN(p.n))
			}
		}
		entries, err := x.Lookup(b.Context(), ids)
		if err != nil {
			b.Fatal(err)
		}
		for i, e := range entries {
			if e.Found != (i%2 == 0) {
				b.Fatalf("chunk %d: found: %v", i, e.Found)
			}
		}
		n += batch
	}
	if batch > 0 {
		b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "lookups/s")
		b.ReportMetric(float64(n)/(cpuTime(b)-start).Seconds(), "lookups/cpu-s")
	}
}

// walk goes through the index as gc does.
func (p population) walk(b *testing.B, x *index.Index) {
	for b.Loop() {
		resetPeak(b)
		all, err := x.Candidates(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if all.Len() < p.n {
			b.Fatalf("%d chunks: want %d", all.Len(), p.n)
		}
	}
	b.ReportMetric(float64(p.n)*float64(b.N)/b.Elapsed().Seconds(), "chunks/s")
	b.ReportMetric(float64(statusOf(b, "VmHWM"))/float64(p.n), "peak-B/chunk")
}

// adds names packs of new chunks, one after the other.
func (p population) adds(b *testing.B, x *index.Index, chunks int) {
	r := rand.New(rand.NewPCG(rand.Uint64(), 7)) // others than in the last run
	ids := make([]store.ID, chunks)
	resetPeak(b)
	for b.Loop() {
		b.StopTimer()
		for i := range ids {
			ids[i] = stranger(r)
		}
		name, frames := fmt.Sprintf("%016x-%06d", r.Uint64(), 1), framesOf(ids)
		b.StartTimer()
		if err := x.Add(b.Context(), name, 48<<20, frames); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(chunks)*float64(b.N)/b.Elapsed().Seconds(), "chunks/s")
	b.ReportMetric(float64(statusOf(b, "VmHWM"))/float64(p.n), "peak-B/chunk")
}

// statusOf returns a figure of this process, in bytes.
func statusOf(b *testing.B, field string) int64 {
	b.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	lines := bufio.NewScanner(bytes.NewReader(status))
	for lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), field+":"); ok {
			kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			return kib << 10
		}
	}
	b.Fatalf("/proc/self/status has no %s", field)
	return 0
}

// resetPeak has the kernel begin anew with VmHWM.
func resetPeak(b *testing.B) {
	b.Helper()
	debug.FreeOSMemory()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		b.Fatal(err)
	}
}

func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
