package disk

import (
	"context"
	"errors"
	"testing"

	"satchel/store"
	"satchel/store/durable"
)

// A pull is what a device does to get a version, in the toy model: the whole of
// the version, and of its parent the record alone.
type pull struct {
	from            *Store
	layer           store.LayerID
	parent, version store.ID
	old, new        []store.ID // what only the parent has, and what the version has
}

// newPull makes a layer with two versions.
func newPull(t *testing.T) *pull {
	t.Helper()
	s := newTestStoreIn(t, memoryDir(t))
	old, fresh := randomChunks(seeded(70), 8, 2000), randomChunks(seeded(71), 8, 2000)
	v1 := newToyLayer(t, s, "a", old...)
	w := begin(t, s)
	v2, err := commitToy(t.Context(), s, v1, w, fresh...)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	p := &pull{from: s, layer: v1.Layer, parent: v1.Version, version: v2.Version}
	for i := range old {
		p.old = append(p.old, s.Domain().ID(old[i]))
		p.new = append(p.new, s.Domain().ID(fresh[i]))
	}
	return p
}

// run brings the version to a store, in the order that docs/durability.md
// gives. It leaves its writer open when it fails, as a process does that dies.
func (p *pull) run(ctx context.Context, to *Store) error {
	w, err := to.Begin(ctx, "pull")
	if err != nil {
		return err
	}
	if err := p.fetch(ctx, to, w, append(p.new, p.parent, p.version)); err != nil {
		return err
	}
	if err := w.Flush(ctx); err != nil {
		return err
	}
	head, err := to.Heads().Add(ctx, p.layer, "a")
	if errors.Is(err, store.ErrExist) {
		head, err = to.Heads().Head(ctx, p.layer)
	}
	if err != nil {
		return err
	}
	move := store.Move{Layer: p.layer, From: head.Version, To: p.version, Partial: []store.ID{p.parent}}
	if err := to.Heads().CompareAndSwap(ctx, move); err != nil {
		return err
	}
	return w.Close()
}

// fetch puts those chunks that the store lacks.
func (p *pull) fetch(ctx context.Context, to *Store, w store.Writer, ids []store.ID) error {
	has, err := w.Has(ctx, ids)
	if err != nil {
		return err
	}
	var lacks []store.ID
	for i, id := range ids {
		if !has[i] {
			lacks = append(lacks, id)
		}
	}
	return p.from.Frames(ctx, lacks, func(f []byte) error {
		_, err := w.PutFrame(ctx, f)
		return err
	})
}

// complete brings what the parent lacks.
func (p *pull) complete(ctx context.Context, to *Store) error {
	w, err := to.Begin(ctx, "complete")
	if err != nil {
		return err
	}
	if err := p.fetch(ctx, to, w, p.old); err != nil {
		return err
	}
	if err := w.Flush(ctx); err != nil {
		return err
	}
	if err := to.Heads().Complete(ctx, p.parent); err != nil {
		return err
	}
	return w.Close()
}

// partialWalk is the walker of the toy model that does not go below versions
// that are partial.
func partialWalk(s *Store) store.Walker {
	return func(ctx context.Context, root store.ID, visit func(store.ID) bool) error {
		partial, err := s.Heads().Partial(ctx)
		if err != nil {
			return err
		}
		return toyWalk(s)(ctx, root, func(id store.ID) bool {
			_, ok := partial[id]
			return visit(id) && !ok
		})
	}
}

// wantSound checks that the leases of before are dead, and that all that heads
// reach is there, both before and after gc.
func wantSound(t *testing.T, s *Store) {
	t.Helper()
	state, err := s.heads.State(t.Context())
	if err != nil || len(state.Leases) > 0 {
		t.Fatalf("leases that live on: %+v, %v", state.Leases, err)
	}
	for range 2 {
		res, err := s.Verify(t.Context(), partialWalk(s), nil)
		if err := errors.Join(err, res.Err()); err != nil {
			t.Fatalf("%v\n%+v", err, res)
		}
		if _, err := s.GC(t.Context(), partialWalk(s)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestPullSurvivesPowerFailure fails power at every step of a pull, and of the
// completion of a partial version, in one process: the store that lost power is
// closed with its writers open, and the directory is opened anew.
func TestPullSurvivesPowerFailure(t *testing.T) {
	p := newPull(t)
	everyStep(t, func(t *testing.T, power *powerFailure) {
		dir := newPeer(t, p.from).Dir()
		fault := power.fs().Fault
		failing, err := OpenFaulty(dir, func(op, file string) (error, bool) { return fault(durable.Step{Op: op, Name: file}) })
		if err != nil {
			t.Fatal(err)
		}
		err = p.run(t.Context(), failing)
		pulled := err == nil
		if pulled {
			err = p.complete(t.Context(), failing)
		}
		if err != nil && !errors.Is(err, errPower) {
			t.Fatal(err)
		}
		if err := failing.Close(); err != nil {
			t.Fatal(err)
		}

		s, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		wantSound(t, s)
		wantPulled(t, s, p, pulled)
		if err := p.run(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		wantSound(t, s)
		if err := p.complete(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		wantWhole(t, s)
		wantHas(t, s, true, append(p.old, p.new...)...)
	})
}

// wantPulled checks that the head is at the version, with its parent's mark, or
// nowhere, unless the pull was told that it had succeeded.
func wantPulled(t *testing.T, s *Store, p *pull, told bool) {
	t.Helper()
	head, err := s.Heads().Head(t.Context(), p.layer)
	if err != nil && (told || !errors.Is(err, store.ErrNotExist)) {
		t.Fatal(err)
	}
	partial, err := s.Heads().Partial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, marked := partial[p.parent]
	switch {
	case head.Version.IsZero() && (told || marked):
		t.Fatalf("no version is there, though the pull said so (%v) or marked its parent (%v)", told, marked)
	case head.Version.IsZero():
	case head.Version != p.version:
		t.Fatalf("the head is at %s, want %s", head.Version.Short(), p.version.Short())
	case !marked && toyWalk(s)(t.Context(), p.version, func(store.ID) bool { return true }) != nil:
		t.Fatal("the parent counts as complete, but is not")
	}
}

// TestCloseEndsLeases closes a store under its writers and holds.
func TestCloseEndsLeases(t *testing.T) {
	s := newTestStoreIn(t, memoryDir(t))
	head := newToyLayer(t, s, "a", []byte("content"))
	w := begin(t, s)
	if _, err := w.Put(t.Context(), []byte("staged")); err != nil {
		t.Fatal(err)
	}
	release, err := s.Hold(t.Context(), "guest", head.Version)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Open(s.Dir())
	if err != nil {
		t.Fatal(err)
	}
	wantSound(t, again)
	if err := w.Flush(t.Context()); err == nil {
		t.Error("a writer without a lease goes on")
	}
	if err := errors.Join(w.Close(), release()); err != nil {
		t.Errorf("closing what the store had ended: %v", err)
	}
}
