package disk

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"satchel/store"
)

// partialToy is the walker of the toy model that goes by what is partial: of such
// a version only its parent is reached, which is the last that it names.
func partialToy(s *Store) store.Walker {
	return func(ctx context.Context, root store.ID, visit func(store.ID) bool) error {
		partial, err := s.heads.Partial(ctx)
		if err != nil {
			return err
		}
		var walk func(id store.ID) error
		walk = func(id store.ID) error {
			if !visit(id) {
				return nil
			}
			b, err := s.Get(ctx, id)
			if err != nil {
				return err
			}
			ids, ok := toyIDs(b)
			if _, recordOnly := partial[id]; recordOnly && len(ids) > 0 {
				ids = ids[len(ids)-1:]
			}
			for i := 0; ok && i < len(ids); i++ {
				if err := walk(ids[i]); err != nil {
					return err
				}
			}
			return nil
		}
		return walk(root)
	}
}

func toyIDs(b []byte) (ids []store.ID, ok bool) {
	if len(b) < len(toyMagic) || string(b[:len(toyMagic)]) != string(toyMagic) {
		return nil, false
	}
	for b = b[len(toyMagic):]; len(b) >= len(store.ID{}); b = b[len(store.ID{}):] {
		ids = append(ids, store.ID(b))
	}
	return ids, true
}

// history commits contents one after another and returns the versions.
func history(t *testing.T, s *Store, contents ...[][]byte) (h store.Head, versions []store.ID) {
	t.Helper()
	h = newToyLayer(t, s, "a", contents[0]...)
	versions = []store.ID{h.Version}
	for _, content := range contents[1:] {
		w, err := s.Begin(t.Context(), "test")
		if err != nil {
			t.Fatal(err)
		}
		h, err = commitToy(t.Context(), s, h, w, content...)
		if err = errors.Join(err, w.Close()); err != nil {
			t.Fatal(err)
		}
		versions = append(versions, h.Version)
	}
	return h, versions
}

func evict(t *testing.T, s *Store, h store.Head, versions ...store.ID) []store.ID {
	t.Helper()
	all := map[store.ID]store.LayerID{}
	for _, id := range versions {
		all[id] = h.Layer
	}
	evicted, err := s.Evict(t.Context(), all)
	if err != nil {
		t.Fatal(err)
	}
	return evicted
}

// TestEvictFreesRoom evicts the older of two versions that share a part.
func TestEvictFreesRoom(t *testing.T) {
	s := newTestStore(t)
	r := seeded(30)
	only, both, newer := randomChunks(r, 30, 64<<10), randomChunks(r, 30, 64<<10), randomChunks(r, 2, 64<<10)
	h, versions := history(t, s, append(only, both...), append(newer, both...))
	if got := evict(t, s, h, versions...); len(got) != 1 || got[0] != versions[0] {
		t.Fatalf("evicted %v, want the older version alone", got)
	}
	if _, err := s.GC(t.Context(), partialToy(s)); err != nil {
		t.Fatal(err)
	}
	sparsely, err := s.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	res, err := s.Shrink(t.Context(), partialToy(s))
	if err != nil {
		t.Fatal(err)
	}
	after, err := s.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wantHas(t, s, false, chunkIDs(s, only)...)
	wantHas(t, s, true, chunkIDs(s, append(both, newer...))...)
	wantHas(t, s, true, versions...)
	if res.FreedBytes != sparsely.StoredBytes-after.StoredBytes {
		t.Errorf("%d bytes after gc, %d after shrink, which says that it freed %d", sparsely.StoredBytes, after.StoredBytes, res.FreedBytes)
	}
	if most := after.UniqueBytes * 12 / 10; after.StoredBytes > most {
		t.Errorf("%d bytes are stored for %d: want at most %d", after.StoredBytes, after.UniqueBytes, most)
	}
	release, err := s.Hold(t.Context(), "test", versions[0])
	if !errors.Is(err, store.ErrNotExist) {
		t.Errorf("an evicted version is held: %v", errors.Join(err, release()))
	}
}

func chunkIDs(s *Store, chunks [][]byte) (ids []store.ID) {
	for _, c := range chunks {
		ids = append(ids, s.Domain().ID(c))
	}
	return ids
}

// noise makes chunks that do not get smaller.
func noise(r *rand.Rand, n, size int) [][]byte {
	chunks := make([][]byte, n)
	for i := range chunks {
		chunks[i] = make([]byte, size)
		for j := range chunks[i] {
			chunks[i][j] = byte(r.Uint32())
		}
	}
	return chunks
}

func TestScale(t *testing.T) {
	s := newTestStore(t)
	r := seeded(31)
	only, both, newer, waste := noise(r, 20, 32<<10), noise(r, 35, 32<<10), noise(r, 10, 32<<10), noise(r, 5, 32<<10)
	put(t, s, waste...)
	_, versions := history(t, s, append(only, both...), append(newer, both...))
	scale, err := s.Scale(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	onDisk := func(chunks [][]byte) (n int64) {
		for _, b := range chunks {
			n += int64(len(b))
		}
		return n
	}
	partial := func(ctx context.Context, root store.ID, visit func(store.ID) bool) error {
		return toyWalk(s)(ctx, root, func(id store.ID) bool { return visit(id) && id != versions[0] })
	}
	for _, c := range []struct {
		what  string
		walk  store.Walker
		root  store.ID
		among [][]byte
	}{
		{"the newer one", partial, versions[1], append(newer, both...)},
		{"the same again", partial, versions[1], nil},
		{"the older one", toyWalk(s), versions[0], only},
	} {
		got, err := scale.Add(t.Context(), c.walk, c.root)
		want := onDisk(c.among)
		if err != nil || got < want*99/100 || got > want*102/100+4000 {
			t.Errorf("%s: %d bytes, %v: want about %d", c.what, got, err, want)
		}
	}
	want := onDisk(waste)
	if got := scale.Rest(); got < want*99/100 || got > want*102/100+4000 {
		t.Errorf("the rest is %d bytes: want about %d", got, want)
	}
}

// TestEvictionSurvivesPowerFailure fails power at every step of an eviction and
// the gc behind it. Whatever is left, the head is whole, and the version is either
// whole or marked.
func TestEvictionSurvivesPowerFailure(t *testing.T) {
	r := seeded(32)
	old, newer := randomChunks(r, 12, 2000), randomChunks(r, 5, 2000)
	everyStep(t, func(t *testing.T, p *powerFailure) {
		s := newTestStoreIn(t, memoryDir(t))
		h, versions := history(t, s, old, newer)
		failing, err := open(s.Dir(), p.fs())
		if err != nil {
			t.Fatal(err)
		}
		_, err = failing.Evict(t.Context(), map[store.ID]store.LayerID{versions[0]: h.Layer})
		if err == nil {
			_, err = failing.Shrink(t.Context(), partialToy(failing))
		}
		if err != nil && !errors.Is(err, errPower) {
			t.Fatal(err)
		}
		again, err := Open(s.Dir())
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			res, err := again.Verify(t.Context(), partialToy(again), nil)
			if err = errors.Join(err, res.Err()); err != nil {
				t.Fatal(err)
			}
			wantHas(t, again, true, chunkIDs(again, newer)...)
			partial, err := again.Heads().Partial(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, marked := partial[versions[0]]; !marked {
				wantHas(t, again, true, chunkIDs(again, old)...)
			}
			if _, err := again.Shrink(t.Context(), partialToy(again)); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestEvictBesideReadersAndWriters evicts whatever it may, again and again, while
// others hold old versions and read them, or build on them. What could be held is
// whole until it is released, and what was built is whole for good.
func TestEvictBesideReadersAndWriters(t *testing.T) {
	s := newTestStoreIn(t, memoryDir(t))
	r := seeded(33)
	const many = 12
	var contents [][][]byte
	for range many {
		contents = append(contents, randomChunks(r, 4, 3000))
	}
	h, versions := history(t, s, contents...)
	var seen [3]int // holds that were refused, holds, and versions built on old ones
	done := make(chan error)
	go func() { done <- holdAndRead(t.Context(), s, seeded(34), versions, contents, &seen) }()
	go func() { done <- buildOnOld(t.Context(), s, h.Layer, seeded(35), versions, contents, &seen) }()
	evicted := 0
	for running := 2; running > 0; {
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
			running--
			continue
		default:
		}
		evicted += len(evict(t, s, h, versions[:many-1]...))
		if _, err := s.Shrink(t.Context(), partialToy(s)); err != nil {
			t.Fatal(err)
		}
	}
	if seen[1] == 0 || seen[2] == 0 || evicted == 0 {
		t.Errorf("%d holds, %d refused, %d versions built, %d evicted: want some of each but the refused", seen[1], seen[0], seen[2], evicted)
	}
	for range 2 {
		res, err := s.Verify(t.Context(), partialToy(s), nil)
		if err = errors.Join(err, res.Err()); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Shrink(t.Context(), partialToy(s)); err != nil {
			t.Fatal(err)
		}
	}
}

// holdAndRead holds old versions, of those that are there, and reads them.
func holdAndRead(ctx context.Context, s *Store, r *rand.Rand, versions []store.ID, contents [][][]byte, seen *[3]int) error {
	for range 300 {
		i := r.IntN(len(versions) - 1)
		release, err := s.Hold(ctx, "test", versions[i])
		if errors.Is(err, store.ErrNotExist) {
			seen[0]++
			continue
		} else if err != nil {
			return err
		}
		seen[1]++
		for _, id := range chunkIDs(s, contents[i]) {
			if _, err := s.Get(ctx, id); err != nil {
				return errors.Join(fmt.Errorf("version %d is held: %w", i, err), release())
			}
		}
		if err := release(); err != nil {
			return err
		}
	}
	return nil
}

// buildOnOld brings old versions back and makes new heads of what they hold, as a
// rollback does: what is here is not put again.
func buildOnOld(ctx context.Context, s *Store, layer store.LayerID, r *rand.Rand, versions []store.ID, contents [][][]byte, seen *[3]int) error {
	for range 300 {
		i := r.IntN(len(versions) - 1)
		if err := buildOn(ctx, s, layer, versions[i], contents[i], seen); err != nil {
			return fmt.Errorf("build on version %d: %w", i, err)
		}
	}
	return nil
}

func buildOn(ctx context.Context, s *Store, layer store.LayerID, version store.ID, content [][]byte, seen *[3]int) (err error) {
	w, err := s.Begin(ctx, "test")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	partial, err := s.heads.Partial(ctx)
	if err != nil {
		return err
	}
	head, err := s.heads.Head(ctx, layer)
	if err != nil {
		return err
	}
	if _, gone := partial[version]; gone { // bring it back
		if _, err := w.Put(ctx, content...); err != nil {
			return err
		}
		return errors.Join(w.Flush(ctx), s.heads.Complete(ctx, version))
	}
	// The mark of the time makes it a version of its own.
	seen[2]++
	tag, err := w.Put(ctx, []byte(fmt.Sprint("build ", seen[2])))
	if err != nil {
		return err
	}
	_, err = moveToy(ctx, s, head, w, append(tag, chunkIDs(s, content)...))
	return err
}
