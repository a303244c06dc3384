package disk

import (
	"context"
	"errors"
	"os"
	"slices"
	"testing"

	"satchel/store"
	"satchel/store/index"
)

func TestVerifyProgress(t *testing.T) {
	s := newTestStore(t)
	chunks := randomChunks(seeded(50), 100, 20<<10)
	newToyLayer(t, s, "a", chunks[:50]...)
	newToyLayer(t, s, "b", chunks[50:]...)
	var steps []int64
	var last int64
	res, err := s.Verify(t.Context(), toyWalk(s), func(done, total int64) {
		steps = append(steps, done)
		last = total
	})
	if err != nil || !res.OK() || res.Err() != nil {
		t.Fatalf("scrub: %v, %v", err, res.Err())
	}
	if !slices.IsSorted(steps) || steps[len(steps)-1] != last {
		t.Errorf("progress %v of %d", steps, last)
	}
	stats, err := s.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if res.Packs != 2 || res.Bytes != stats.StoredBytes || res.Chunks != stats.Chunks || res.Reached != stats.Chunks {
		t.Errorf("scrub %+v of store %+v", res, stats)
	}
}

func TestVerifyCancelled(t *testing.T) {
	s := newTestStore(t)
	put(t, s, []byte("content"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Verify(ctx, toyWalk(s), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("verify: %v, want %v", err, context.Canceled)
	}
}

// lose takes a chunk out of the index, as no command does.
func lose(t testing.TB, s *Store, id store.ID) {
	t.Helper()
	entries, err := s.index.Lookup(t.Context(), []store.ID{id})
	if err == nil {
		err = s.index.Forget(t.Context(), []index.Placed{{ID: id, Location: entries[0].Location}})
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestVerifyFindsWhatIsMissing(t *testing.T) {
	s := newTestStore(t)
	h := newToyLayer(t, s, "broken", []byte("kept"), []byte("lost"))
	newToyLayer(t, s, "whole", []byte("kept"))
	lost := s.Domain().ID([]byte("lost"))
	lose(t, s, lost)
	res, err := s.Verify(t.Context(), toyWalk(s), nil)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(res.Missing, []store.ID{lost}) {
		t.Errorf("missing %v, want %s", res.Missing, lost)
	}
	if len(res.Heads) != 1 || res.Heads[0].Layer != "broken" || res.Heads[0].Version != h.Version {
		t.Errorf("incomplete versions %+v, want that of layer broken", res.Heads)
	}
	if !errors.Is(res.Err(), store.ErrCorrupt) || len(res.Damaged) > 0 || len(res.Torn) > 0 {
		t.Errorf("scrub: %v\n%+v", res.Err(), res)
	}
	if _, err := s.GC(t.Context(), toyWalk(s)); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("gc of a store that is incomplete: %v, want %v", err, store.ErrNotExist)
	}
}

func TestVerifyFindsMissingPack(t *testing.T) {
	s := newTestStore(t)
	ids := put(t, s, randomChunks(seeded(51), 10, 1000)...)
	packs, err := s.packFiles()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(s.packPath(packs[0].name)); err != nil {
		t.Fatal(err)
	}
	res, err := s.Verify(t.Context(), toyWalk(s), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Damaged) != len(ids) || len(res.Torn) != 1 {
		t.Errorf("scrub names %d chunks and %d packs: want %d and 1", len(res.Damaged), len(res.Torn), len(ids))
	}
	if _, err := s.Get(t.Context(), ids[0]); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("get from a missing pack: %v, want %v", err, store.ErrCorrupt)
	}
}

// TestVerifyFindsStrayRecords points the index at places where no chunk lies.
func TestVerifyFindsStrayRecords(t *testing.T) {
	s := newTestStore(t)
	chunks := randomChunks(seeded(52), 10, 1000)
	ids := put(t, s, chunks...)
	packs, err := s.packFiles()
	if err != nil {
		t.Fatal(err)
	}
	frames, err := s.readDirectory(packs[0].name)
	if err != nil {
		t.Fatal(err)
	}
	lose(t, s, ids[3])
	frames[0].Chunks[0].ID = ids[3] // which is in truth the first chunk's place
	if err := s.index.Add(t.Context(), packs[0].name, packs[0].size, frames[:1]); err != nil {
		t.Fatal(err)
	}
	res, err := s.Verify(t.Context(), toyWalk(s), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Damaged) != 1 || res.Damaged[0].ID != ids[3] {
		t.Errorf("scrub names %+v, want chunk %s", res.Damaged, ids[3].Short())
	}
	if err := s.Rebuild(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantWhole(t, s)
}
