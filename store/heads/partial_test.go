package heads

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"satchel/store"
)

func TestAdd(t *testing.T) {
	h := newHeads(t)
	a := create(t, h, "a")
	for _, c := range []struct {
		what  string
		layer store.LayerID
		name  string
		want  error
	}{
		{"an ID that is taken", a.Layer, "b", store.ErrExist},
		{"a name that is taken", store.LayerID{1}, "a", store.ErrExist},
		{"both are free", store.LayerID{1}, "b", nil},
		{"the same again", store.LayerID{1}, "b", store.ErrExist},
	} {
		head, err := h.Add(t.Context(), c.layer, c.name)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.what, err, c.want)
		}
		if want := (store.Head{Layer: c.layer, Name: c.name}); err == nil && head != want {
			t.Errorf("%s: %+v, want %+v", c.what, head, want)
		}
	}
	if _, err := h.Add(t.Context(), store.LayerID{}, "zero"); err == nil {
		t.Error("the zero ID is taken")
	}
	if list, err := h.List(t.Context()); err != nil || len(list) != 2 {
		t.Errorf("list: %+v, %v: want two layers", list, err)
	}
}

func TestRename(t *testing.T) {
	h := newHeads(t)
	a, b := create(t, h, "a"), create(t, h, "b")
	v := store.ID{7}
	if err := h.CompareAndSwap(t.Context(), store.Move{Layer: a.Layer, To: v}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		layer store.LayerID
		name  string
		want  error
	}{
		{a.Layer, "b", store.ErrExist},
		{a.Layer, "a", nil},
		{store.LayerID{9}, "c", store.ErrNotExist},
		{a.Layer, "c", nil},
		{b.Layer, "a", nil},
	} {
		if err := h.Rename(t.Context(), c.layer, c.name); !errors.Is(err, c.want) {
			t.Errorf("rename to %q: %v, want %v", c.name, err, c.want)
		}
	}
	if err := h.Rename(t.Context(), a.Layer, strings.Repeat("x", MaxName+1)); err == nil {
		t.Error("a name that is too long is taken")
	}
	list, err := h.List(t.Context())
	want := []store.Head{{Layer: b.Layer, Name: "a"}, {Layer: a.Layer, Name: "c", Version: v}}
	if err != nil || !slices.Equal(list, want) {
		t.Errorf("list: %+v, %v: want %+v", list, err, want)
	}
}

// wantPartial checks which versions are marked, by their first bytes.
func wantPartial(t *testing.T, h *Heads, what string, want ...byte) {
	t.Helper()
	got, err := h.Partial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var marked []byte
	for id := range maps.Keys(got) {
		marked = append(marked, id[0])
	}
	slices.Sort(marked)
	if !slices.Equal(marked, want) {
		t.Errorf("%s: versions %v are partial, want %v", what, marked, want)
	}
}

func TestPartial(t *testing.T) {
	h := newHeads(t)
	ctx := t.Context()
	a, b := create(t, h, "a"), create(t, h, "b")
	wantPartial(t, h, "at first")
	steps := []struct {
		what string
		do   func() error
		ok   bool
		want []byte
	}{
		{"a move that marks", func() error {
			return h.CompareAndSwap(ctx, store.Move{Layer: a.Layer, To: store.ID{3}, Partial: []store.ID{{1}, {2}, {3}}})
		}, true, []byte{1, 2}},
		{"a move that fails", func() error {
			return h.CompareAndSwap(ctx, store.Move{Layer: a.Layer, To: store.ID{5}, Partial: []store.ID{{4}}})
		}, false, []byte{1, 2}},
		{"two moves, one to what the other marks", func() error {
			return h.CompareAndSwap(ctx,
				store.Move{Layer: a.Layer, From: store.ID{3}, To: store.ID{6}},
				store.Move{Layer: a.Layer, From: store.ID{6}, To: store.ID{7}, Partial: []store.ID{{6}}},
				store.Move{Layer: b.Layer, To: store.ID{9}, Partial: []store.ID{{8}}})
		}, true, []byte{1, 2, 8}},
		{"a move to a partial version", func() error {
			return h.CompareAndSwap(ctx, store.Move{Layer: a.Layer, From: store.ID{7}, To: store.ID{2}})
		}, true, []byte{1, 8}},
		{"complete", func() error { return h.Complete(ctx, store.ID{1}, store.ID{77}) }, true, []byte{8}},
		{"complete nothing", func() error { return h.Complete(ctx) }, true, []byte{8}},
		{"mark again", func() error {
			return h.CompareAndSwap(ctx, store.Move{Layer: a.Layer, From: store.ID{2}, To: store.ID{10}, Partial: []store.ID{{1}}})
		}, true, []byte{1, 8}},
		{"remove a layer", func() error { return h.Remove(ctx, b.Layer, store.ID{9}) }, true, []byte{1, 8}},
		{"a layer that is not there", func() error { return h.Remove(ctx, b.Layer, store.ID{9}) }, false, []byte{1, 8}},
	}
	for _, s := range steps {
		if err := s.do(); (err == nil) != s.ok {
			t.Errorf("%s: %v", s.what, err)
		}
		wantPartial(t, h, s.what, s.want...)
	}
}

// TestOldDatabase goes on with a database that was made before versions could
// be partial.
func TestOldDatabase(t *testing.T) {
	h := newHeads(t)
	ctx := t.Context()
	a := create(t, h, "a")
	err := h.file.View(ctx, func(tx *bbolt.Tx) error {
		if tx.Bucket(partialBucket) != nil {
			t.Error("a new database has the bucket, so the test shows nothing")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Complete(ctx, store.ID{1}); err != nil {
		t.Error(err)
	}
	wantPartial(t, h, "before the first move")
	b := create(t, h, "b")
	if err := h.Remove(ctx, b.Layer, store.ID{}); err != nil {
		t.Error(err)
	}
	if err := h.CompareAndSwap(ctx, store.Move{Layer: a.Layer, To: store.ID{2}, Partial: []store.ID{{1}}}); err != nil {
		t.Fatal(err)
	}
	wantPartial(t, h, "after it", 1)
}
