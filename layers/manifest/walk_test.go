package manifest_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"satchel/layers"
	"satchel/layers/layerstest"
	"satchel/layers/manifest"
	"satchel/store"
)

// history stores two versions, the second made from the first, and returns the
// second.
func history(t *testing.T, st *layerstest.Store) store.ID {
	t.Helper()
	file := func(path string, n int) layers.Entry {
		e := layers.Entry{Path: path, Type: layers.Regular}
		for i := range n {
			ids, err := st.Put(t.Context(), []byte{byte(i), byte(i >> 8), path[0]})
			if err != nil {
				t.Fatal(err)
			}
			e.Extents = append(e.Extents, layers.Extent{ID: ids[0], Len: 3}, layers.Extent{Len: 1})
			e.Size += 4
		}
		return e
	}
	v := layers.Version{Kind: layers.Data}
	first, err := manifest.Write(t.Context(), st, v, layers.Tree{file("a", 3000), file("b", 2)}, layers.Tree{file("c", 1)})
	if err != nil {
		t.Fatal(err)
	}
	v.Parents = []store.ID{first}
	second, err := manifest.Write(t.Context(), st, v, layers.Tree{file("b", 2), file("d", 40)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return second
}

// walk returns what a walk visits, ordered.
func walk(ctx context.Context, st *layerstest.Store, root store.ID) ([]store.ID, error) {
	seen := map[store.ID]bool{}
	err := manifest.Walk(st, nil)(ctx, root, func(id store.ID) bool {
		defer func() { seen[id] = true }()
		return !seen[id]
	})
	var ids []store.ID
	for id := range seen {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b store.ID) int { return slices.Compare(a[:], b[:]) })
	return ids, err
}

func TestWalkVisitsEverything(t *testing.T) {
	st := layerstest.NewStore()
	root := history(t, st)
	got, err := walk(t.Context(), st, root)
	if err != nil {
		t.Fatal(err)
	}
	if want := st.IDs(); !slices.Equal(got, want) {
		t.Errorf("visited %d chunks of %d", len(got), len(want))
	}
}

func TestWalkSkipsWhatVisitRefuses(t *testing.T) {
	st := layerstest.NewStore()
	root := history(t, st)
	before := st.Gets()
	n := 0
	err := manifest.Walk(st, nil)(t.Context(), root, func(store.ID) bool { n++; return false })
	if err != nil || n != 1 || st.Gets() != before {
		t.Errorf("visited %d chunks, read %d, error %v; want only the root visited", n, st.Gets()-before, err)
	}
}

func TestWalkGoesOnAfterDamage(t *testing.T) {
	st := layerstest.NewStore()
	root := history(t, st)
	v, err := manifest.ReadVersion(t.Context(), st, root)
	if err != nil {
		t.Fatal(err)
	}
	st.Remove(v.Tree.ID)
	got, err := walk(t.Context(), st, root)
	if !errors.Is(err, store.ErrNotExist) {
		t.Errorf("error %v, want ErrNotExist", err)
	}
	if !slices.Contains(got, v.Parents[0]) || len(got) < 3000 {
		t.Errorf("visited %d chunks, want the parent's to be among them", len(got))
	}
}

func TestWalkStops(t *testing.T) {
	st := layerstest.NewStore()
	root := history(t, st)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := walk(ctx, st, root); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want Canceled", err)
	}
}

// TestWalkOfPartialVersions has a version without its trees.
func TestWalkOfPartialVersions(t *testing.T) {
	st := layerstest.NewStore()
	root := history(t, st)
	v, err := manifest.ReadVersion(t.Context(), st, root)
	if err != nil {
		t.Fatal(err)
	}
	old := v.Parents[0]
	shared, err := walk(t.Context(), st, old)
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	walker := manifest.Walk(st, func(context.Context) (map[store.ID]struct{}, error) {
		asked++
		return map[store.ID]struct{}{root: {}}, nil
	})
	for range 2 {
		var got []store.ID
		if err := walker(t.Context(), root, func(id store.ID) bool { got = append(got, id); return !slices.Contains(got[:len(got)-1], id) }); err != nil {
			t.Fatal(err)
		}
		slices.SortFunc(got, func(a, b store.ID) int { return slices.Compare(a[:], b[:]) })
		want := append(slices.Clone(shared), root)
		slices.SortFunc(want, func(a, b store.ID) int { return slices.Compare(a[:], b[:]) })
		if got = slices.Compact(got); !slices.Equal(got, want) {
			t.Errorf("visited %d chunks, want the record and the %d of its parent", len(got), len(shared))
		}
	}
	if asked != 2 {
		t.Errorf("asked for partial versions %d times for two roots", asked)
	}
	broken := errors.New("broken")
	walker = manifest.Walk(st, func(context.Context) (map[store.ID]struct{}, error) { return nil, broken })
	if err := walker(t.Context(), root, func(store.ID) bool { return true }); !errors.Is(err, broken) {
		t.Errorf("error %v, want %v", err, broken)
	}
}
