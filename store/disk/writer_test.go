package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"satchel/store"
	"satchel/store/index"
	"satchel/store/pack"
)

func begin(t testing.TB, s *Store) store.Writer {
	t.Helper()
	w, err := s.Begin(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

func TestWriteStats(t *testing.T) {
	s := newTestStore(t)
	chunks := randomChunks(seeded(40), 100, 20<<10)
	var size int64
	for _, c := range chunks {
		size += int64(len(c))
	}
	for i, want := range []store.WriteStats{
		{Chunks: 200, Bytes: 2 * size, NewChunks: 100, NewBytes: size},
		{Chunks: 200, Bytes: 2 * size},
	} {
		w := begin(t, s)
		for range 2 {
			if _, err := w.Put(t.Context(), chunks...); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		got := w.Stats()
		if (got.StoredBytes > 0) != (want.NewBytes > 0) || got.StoredBytes > size {
			t.Errorf("writer %d: %d bytes stored", i, got.StoredBytes)
		}
		got.StoredBytes = 0
		if got != want {
			t.Errorf("writer %d: %+v, want %+v", i, got, want)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	stats, err := s.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if stats.Chunks != 100 || stats.UniqueBytes != size || stats.Packs != 1 || stats.StoredBytes > size || stats.Leases != 0 {
		t.Errorf("store: %+v", stats)
	}
}

func TestBadChunksBreakTheWriter(t *testing.T) {
	s := newTestStore(t)
	for what, bad := range map[string][]byte{"empty": {}, "long": make([]byte, store.MaxChunk+1)} {
		w := begin(t, s)
		if _, err := w.Put(t.Context(), []byte("good"), bad); err == nil {
			t.Errorf("%s chunk is taken", what)
		}
		if _, err := w.Put(t.Context(), []byte("good")); err == nil {
			t.Errorf("%s chunk: the writer takes more after it failed", what)
		}
		if err := w.Flush(t.Context()); err == nil {
			t.Errorf("%s chunk: the writer flushes after it failed", what)
		}
		if err := w.Close(); err != nil {
			t.Errorf("%s chunk: close: %v", what, err)
		}
	}
	put(t, s, make([]byte, store.MaxChunk)) // the longest there may be
	wantWhole(t, s)
}

func TestClosedWriter(t *testing.T) {
	s := newTestStore(t)
	w := begin(t, s)
	ids, err := w.Put(t.Context(), []byte("never flushed"))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Put(t.Context(), []byte("late")); err == nil {
		t.Error("a closed writer takes chunks")
	}
	if err := w.Flush(t.Context()); err == nil {
		t.Error("a closed writer flushes")
	}
	wantHas(t, s, false, ids...)
	for _, dir := range []string{tmpName, leasesName} {
		if left, err := os.ReadDir(filepath.Join(s.Dir(), dir)); err != nil || len(left) > 0 {
			t.Errorf("left in %s: %v, %v", dir, left, err)
		}
	}
}

func TestCancelledPut(t *testing.T) {
	s := newTestStore(t)
	w := begin(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.Put(ctx, []byte("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("put: %v, want %v", err, context.Canceled)
	}
}

// TestPutDoesNotKeepData changes the data after it was put.
func TestPutDoesNotKeepData(t *testing.T) {
	s := newTestStore(t)
	w := begin(t, s)
	data := []byte(strings.Repeat("mine", 100))
	ids, err := w.Put(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	clear(data)
	if err := w.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantChunks(t, s, ids, [][]byte{[]byte(strings.Repeat("mine", 100))})
}

// TestManyWriters puts overlapping chunks from many goroutines through two
// writers, over several packs, and reads them from many more.
func TestManyWriters(t *testing.T) {
	s := newTestStore(t)
	chunks := randomChunks(seeded(41), 400, 256<<10)
	ids := make([]store.ID, len(chunks))
	var g errgroup.Group
	for n := range 2 {
		w := begin(t, s)
		g.Go(func() error {
			var inner errgroup.Group
			for part := range 4 {
				inner.Go(func() error {
					for i := part * 80; i < part*80+160; i += 8 { // overlaps with the next part
						got, err := w.Put(t.Context(), chunks[i:i+8]...)
						if err != nil {
							return err
						}
						if n == 0 && (part == 0 || i >= part*80+80) {
							copy(ids[i:], got)
						}
						if i%64 == 0 {
							if err := w.Flush(t.Context()); err != nil {
								return err
							}
						}
					}
					return nil
				})
			}
			return errors.Join(inner.Wait(), w.Flush(t.Context()), w.Close())
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		g.Go(func() error {
			for i, id := range ids {
				b, err := s.Get(t.Context(), id)
				if err != nil {
					return err
				}
				if len(b) != len(chunks[i]) {
					return errors.New("another chunk came back")
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	wantChunks(t, s, ids, chunks)
	wantWhole(t, s)
	if reads := s.Reads(); reads.Chunks < int64(5*len(ids)) || reads.Frames == 0 || reads.StoredBytes == 0 {
		t.Errorf("reads: %+v", reads)
	}
}

// TestSmallChunksShareFrames checks what reading a run of small chunks costs.
func TestSmallChunksShareFrames(t *testing.T) {
	s := newTestStore(t)
	chunks := randomChunks(seeded(42), 1000, 2000)
	ids := put(t, s, chunks...)
	wantChunks(t, s, ids, chunks)
	if reads := s.Reads(); reads.Frames > 10 {
		t.Errorf("%d frames read for about 1 MB of small chunks: want at most 10", reads.Frames)
	}
}

func TestPlacesAreBounded(t *testing.T) {
	var p places
	for i := range 3 * placesLimit {
		p.put(store.ID{byte(i), byte(i >> 8), byte(i >> 16)}, index.Location{Start: i})
		if _, ok := p.get(store.ID{}); !ok {
			t.Fatalf("a place that is used all the time is forgotten after %d", i)
		}
	}
	if n := len(p.new) + len(p.old); n > placesLimit {
		t.Errorf("%d places are kept: want at most %d", n, placesLimit)
	}
	p.forget(store.ID{})
	if _, ok := p.get(store.ID{}); ok {
		t.Error("a forgotten place is found")
	}
}

// TestTinyChunksKeepTheLimitOfFrames puts batches of the smallest chunks in
// which one of each is present: what is left of two batches together is more
// than a frame may hold.
func TestTinyChunksKeepTheLimitOfFrames(t *testing.T) {
	s := newTestStore(t)
	known := []byte("known")
	put(t, s, known)
	var chunks [][]byte
	for i := range 3 * pack.MaxFrameChunks {
		b := known
		if i%pack.MaxFrameChunks != 0 {
			b = fmt.Appendf(nil, "%d", i)
		}
		chunks = append(chunks, b)
	}
	ids := put(t, s, chunks...)
	wantChunks(t, s, ids, chunks)
	wantWhole(t, s)
}

// TestDenseChunksHaveFramesOfTheirOwn checks that what does not compress
// neither shares a frame with what does nor makes a long one.
func TestDenseChunksHaveFramesOfTheirOwn(t *testing.T) {
	s := newTestStore(t)
	r := seeded(12)
	var chunks [][]byte
	for range 200 {
		text := bytes.Repeat(fmt.Appendf(nil, "%016x ", r.Uint64()), 600)
		dense := make([]byte, 10_000)
		for i := range dense {
			dense[i] = byte(r.Uint32())
		}
		chunks = append(chunks, text, dense)
	}
	ids := put(t, s, chunks...)
	sort := map[store.ID]bool{}
	for i, id := range ids {
		sort[id] = i%2 == 1
	}
	packs, err := s.packFiles()
	if err != nil {
		t.Fatal(err)
	}
	frames, found := [2]int{}, 0
	for _, p := range packs {
		list, err := s.readDirectory(p.name)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range list {
			dense, size := sort[f.Chunks[0].ID], 0
			for _, c := range f.Chunks {
				if sort[c.ID] != dense {
					t.Errorf("a frame of %d chunks holds both sorts", len(f.Chunks))
				}
				size, found = size+c.Len, found+1
			}
			if dense && size >= 2*pack.DenseTarget || dense && f.Len < size {
				t.Errorf("a frame of dense chunks: %d bytes in %d", size, f.Len)
			}
			frames[(&gathering{dense: dense}).sort()]++
		}
	}
	if found != len(ids) || frames[0] == 0 || frames[0] > 6 || frames[1] < 14 {
		t.Errorf("%d of %d chunks in %d and %d frames", found, len(ids), frames[0], frames[1])
	}
}
