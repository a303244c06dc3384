package disk

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"golang.org/x/sync/errgroup"
	"pgregory.net/rapid"

	"satchel/store"
	"satchel/store/pack"
)

// newPeer makes a store in the domain of another.
func newPeer(t testing.TB, s *Store) *Store {
	t.Helper()
	peer, err := CreateIn(memoryDir(t)+"/store", s.Domain())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { peer.Close() })
	return peer
}

// framesOf returns copies of the frames that hold the chunks.
func framesOf(t testing.TB, s *Store, ids ...store.ID) [][]byte {
	t.Helper()
	var frames [][]byte
	err := s.Frames(context.Background(), ids, func(f []byte) error {
		frames = append(frames, slices.Clone(f))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return frames
}

// putFrames stores frames with a writer of its own and returns what they held.
func putFrames(t testing.TB, s *Store, frames ...[]byte) ([]store.ID, store.WriteStats) {
	t.Helper()
	ctx := context.Background()
	w, err := s.Begin(ctx, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	var all []store.ID
	for _, f := range frames {
		ids, err := w.PutFrame(ctx, f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, ids...)
	}
	if err := w.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	return all, w.Stats()
}

func sorted(ids []store.ID) []store.ID {
	ids = slices.Clone(ids)
	slices.SortFunc(ids, func(a, b store.ID) int { return slices.Compare(a[:], b[:]) })
	return ids
}

// TestFramesCarryJustWhatIsWanted copies random parts of one store to another
// that holds random parts already.
func TestFramesCarryJustWhatIsWanted(t *testing.T) {
	s := newTestStoreIn(t, memoryDir(t))
	chunks := randomChunks(seeded(50), 200, 8<<10)
	ids := put(t, s, chunks...)
	rapid.Check(t, func(rt *rapid.T) {
		peer := newPeer(t, s)
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0))
		share := rapid.SampledFrom([]int{0, 10, 90, 100}).Draw(rt, "percent wanted")
		var want, twice []store.ID
		var data [][]byte
		var size int64
		for i, id := range ids {
			if r.IntN(100) >= share {
				continue
			}
			want, data = append(want, id), append(data, chunks[i])
			size += int64(len(chunks[i]))
			twice = append(twice, id)
			if r.IntN(4) == 0 {
				twice = append(twice, id)
			}
		}
		r.Shuffle(len(twice), func(i, j int) { twice[i], twice[j] = twice[j], twice[i] })
		held := data[:r.IntN(len(data)+1)]
		put(t, peer, held...)

		got, stats := putFrames(t, peer, framesOf(t, s, twice...)...)
		if !slices.Equal(sorted(got), sorted(want)) {
			rt.Fatalf("frames carried %d chunks, want just the %d asked for", len(got), len(want))
		}
		wantChunks(t, peer, want, data)
		if stats.Chunks != int64(len(want)) || stats.NewChunks != int64(len(want)-len(held)) || stats.Bytes != size {
			rt.Fatalf("%+v: want %d chunks of %d bytes, %d of them new", stats, len(want), size, len(want)-len(held))
		}
		wantWhole(t, peer)
	})
}

// TestFramesTravelAsTheyAre copies a whole store and wants the same bytes.
func TestFramesTravelAsTheyAre(t *testing.T) {
	s := newTestStoreIn(t, memoryDir(t))
	ids := put(t, s, randomChunks(seeded(51), 300, 20<<10)...)
	frames := framesOf(t, s, ids...)
	peer := newPeer(t, s)
	_, stats := putFrames(t, peer, frames...)
	if again := framesOf(t, peer, ids...); !slices.EqualFunc(frames, again, slices.Equal) {
		t.Errorf("%d frames became %d, or their bytes changed", len(frames), len(again))
	}
	var size int64
	for _, f := range frames {
		size += int64(len(f))
	}
	if stats.StoredBytes != size {
		t.Errorf("%d bytes stored, want %d", stats.StoredBytes, size)
	}
}

func TestFramesOfWhatIsNotThere(t *testing.T) {
	s := newTestStoreIn(t, memoryDir(t))
	ids := put(t, s, []byte("a chunk"))
	err := s.Frames(t.Context(), append(ids, store.ID{1}), func([]byte) error {
		t.Error("a frame goes out before all chunks are found")
		return nil
	})
	if !errors.Is(err, store.ErrNotExist) {
		t.Errorf("%v, want %v", err, store.ErrNotExist)
	}
	stop := errors.New("stop")
	if err := s.Frames(t.Context(), ids, func([]byte) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("%v, want the error of emit", err)
	}
}

// TestFramesPassOverDamage damages a frame and wants all that can still be
// read, none of it wrong, and an error.
func TestFramesPassOverDamage(t *testing.T) {
	s := newTestStoreIn(t, memoryDir(t))
	chunks := randomChunks(seeded(52), 60, 20<<10)
	ids := put(t, s, chunks...)
	entries, err := s.index.Lookup(t.Context(), ids[30:31])
	if err != nil {
		t.Fatal(err)
	}
	name := s.packPath(entries[0].Pack)
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b[entries[0].Offset+int64(entries[0].FrameLen)-1] ^= 1
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	want := 0
	for _, id := range ids {
		if _, err := s.Get(t.Context(), id); err == nil {
			want++
		}
	}
	if want == len(ids) {
		t.Fatal("no chunk is damaged, so the test shows nothing")
	}
	peer := newPeer(t, s)
	w := begin(t, peer)
	got := 0
	err = s.Frames(t.Context(), ids, func(f []byte) error {
		ids, err := w.PutFrame(t.Context(), f)
		got += len(ids)
		return err
	})
	if !errors.Is(err, store.ErrCorrupt) || got != want {
		t.Errorf("%d chunks and %v: want %d and %v", got, err, want, store.ErrCorrupt)
	}
}

// TestFramesFollowMovedChunks has gc remove the packs between the look-up and
// the reading.
func TestFramesFollowMovedChunks(t *testing.T) {
	s := newTestStoreIn(t, memoryDir(t))
	chunks := randomChunks(seeded(53), 40, 20<<10)
	put(t, s, append(randomChunks(seeded(54), 200, 20<<10), chunks[:20]...)...)
	put(t, s, append(randomChunks(seeded(55), 200, 20<<10), chunks[20:]...)...)
	newToyLayer(t, s, "a", chunks...)
	var ids []store.ID
	for _, c := range chunks {
		ids = append(ids, s.Domain().ID(c))
	}
	got := 0
	x := &export{store: s, rest: newGathering(), emit: func(f []byte) error {
		lens, err := pack.CheckFrame(f)
		got += len(lens)
		return err
	}}
	places, err := x.locate(t.Context(), ids)
	if err != nil {
		t.Fatal(err)
	}
	if res := collect(t, s); res.Removed == 0 {
		t.Fatal("gc removed no pack, so the test shows nothing")
	}
	for len(places) > 0 {
		n := prefix(places, func(a, b wanted) bool { return a.pack == b.pack })
		if err := x.pack(t.Context(), places[:n], 1); err != nil {
			t.Fatal(err)
		}
		places = places[n:]
	}
	if err := errors.Join(x.flush(), x.damage); err != nil || got != len(ids) {
		t.Errorf("%d chunks, %v: want %d", got, err, len(ids))
	}
}

func TestPutFrameRefusesDamage(t *testing.T) {
	s := newTestStoreIn(t, memoryDir(t))
	good := pack.AppendFrame(nil, []byte("onetwo"), []int{3, 3})
	w := begin(t, s)
	for i := range good {
		bad := slices.Clone(good)
		bad[i] ^= 0x10
		if _, err := w.PutFrame(t.Context(), bad); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("byte %d changed: %v, want %v", i, err, store.ErrCorrupt)
		}
		if _, err := w.PutFrame(t.Context(), good[:i]); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("cut off at %d: %v, want %v", i, err, store.ErrCorrupt)
		}
	}
	ids, err := w.PutFrame(t.Context(), good)
	if err != nil {
		t.Fatalf("after damaged frames: %v", err)
	}
	if err := w.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantChunks(t, s, ids, [][]byte{[]byte("one"), []byte("two")})
	if got := w.Stats(); got.Chunks != 2 || got.NewChunks != 2 {
		t.Errorf("%+v: want 2 chunks", got)
	}
}

// TestPutFrameOfEqualChunks puts frames whose chunks are equal to one another,
// to those of other frames, and to chunks that were put by themselves.
func TestPutFrameOfEqualChunks(t *testing.T) {
	s := newTestStoreIn(t, memoryDir(t))
	w := begin(t, s)
	if _, err := w.Put(t.Context(), []byte("bb")); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"aaaa", "aabb", "ccdd", "ddcc", "ccee"} {
		if _, err := w.PutFrame(t.Context(), pack.AppendFrame(nil, []byte(text), []int{2, 2})); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := w.Stats(); got.Chunks != 11 || got.NewChunks != 5 || got.NewBytes != 10 {
		t.Errorf("%+v: want 11 chunks, 5 of them new", got)
	}
	if res := wantWhole(t, s); res.Chunks != 5 {
		t.Errorf("%d chunks are stored, want 5", res.Chunks)
	}
}

// TestPutFrameInParallel has many copy overlapping parts with one writer.
func TestPutFrameInParallel(t *testing.T) {
	s := newTestStoreIn(t, memoryDir(t))
	chunks := randomChunks(seeded(56), 600, 20<<10)
	ids := put(t, s, chunks...)
	peer := newPeer(t, s)
	w := begin(t, peer)
	var g errgroup.Group
	for i := range 8 {
		g.Go(func() error {
			r := seeded(uint64(60 + i))
			for range 10 {
				from := r.IntN(len(ids))
				part := ids[from:min(len(ids), from+100)]
				err := s.Frames(t.Context(), part, func(f []byte) error {
					_, err := w.PutFrame(t.Context(), f)
					return err
				})
				if err != nil {
					return err
				}
				has, err := w.Has(t.Context(), part)
				if err == nil && slices.Contains(has, false) {
					err = errors.New("a chunk that was put counts as absent")
				}
				if err == nil && r.IntN(3) == 0 {
					err = w.Flush(t.Context())
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	putFrames(t, peer, framesOf(t, s, ids...)...)
	wantChunks(t, peer, ids, chunks)
	wantWhole(t, peer)
}

func TestWriterHas(t *testing.T) {
	s := newTestStoreIn(t, memoryDir(t))
	flushed := put(t, s, []byte("flushed"))
	w := begin(t, s)
	staged, err := w.Put(t.Context(), []byte("staged"))
	if err != nil {
		t.Fatal(err)
	}
	framed, err := w.PutFrame(t.Context(), pack.AppendFrame(nil, []byte("framed"), []int{6}))
	if err != nil {
		t.Fatal(err)
	}
	ids := slices.Concat(flushed, staged, framed, make([]store.ID, 2*hasBatch), flushed)
	has, err := w.Has(t.Context(), ids)
	if err != nil || len(has) != len(ids) {
		t.Fatalf("%d answers, %v: want %d", len(has), err, len(ids))
	}
	for i, ok := range has {
		if ok == ids[i].IsZero() {
			t.Errorf("chunk %d: %v", i, ok)
		}
	}
	if has, err := w.Has(t.Context(), nil); err != nil || len(has) != 0 {
		t.Errorf("of nothing: %v, %v", has, err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Has(t.Context(), ids); err == nil {
		t.Error("a closed writer answers")
	}
}

// TestHasKeepsWhatItPromised has gc condemn chunks before and after a writer is
// told that they are there.
func TestHasKeepsWhatItPromised(t *testing.T) {
	s := newTestStoreIn(t, memoryDir(t))
	chunks := randomChunks(seeded(57), 10, 2000)
	ids := put(t, s, chunks...)
	round := func() {
		t.Helper()
		if err := s.round(t.Context(), toyWalk(s), nil, &GCResult{}); err != nil {
			t.Fatal(err)
		}
	}
	round() // condemns all
	wantHas(t, s, false, ids...)
	w := begin(t, s)
	has, err := w.Has(t.Context(), ids[:5])
	if err != nil || slices.Contains(has, false) {
		t.Fatalf("condemned chunks: %v, %v: want them rescued", has, err)
	}
	round()
	round() // the others are gone by now
	wantChunks(t, s, ids[:5], chunks[:5])
	if has, err := w.Has(t.Context(), ids[5:]); err != nil || slices.Contains(has, true) {
		t.Errorf("chunks that were swept: %v, %v", has, err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	round()
	round()
	wantHas(t, s, false, ids...)
}
