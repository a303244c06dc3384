package heads

import (
	"maps"
	"testing"

	"satchel/store"
)

func TestThin(t *testing.T) {
	h := newHeads(t)
	ctx := t.Context()
	a, b := create(t, h, "a"), create(t, h, "b")
	at := map[store.LayerID]store.ID{}
	move := func(l store.LayerID, to byte, thin, whole bool) func() error {
		return func() error {
			m := store.Move{Layer: l, From: at[l], To: store.ID{to}, Thin: thin, Whole: whole}
			at[l] = m.To
			return h.CompareAndSwap(ctx, m)
		}
	}
	for _, s := range []struct {
		what string
		do   func() error
		want map[store.ID]store.LayerID
	}{
		{"a whole store stays whole", move(a.Layer, 1, false, false), nil},
		{"a move says that it is whole", move(a.Layer, 2, false, true), nil},
		{"a thin version", move(a.Layer, 3, true, false), map[store.ID]store.LayerID{{3}: a.Layer}},
		{"what is made beside one is thin, too", move(b.Layer, 4, false, false), map[store.ID]store.LayerID{{3}: a.Layer, {4}: b.Layer}},
		{"unless it is known to be whole", move(b.Layer, 5, false, true), map[store.ID]store.LayerID{{3}: a.Layer, {4}: b.Layer}},
		{"a whole move to a thin version", move(b.Layer, 4, false, true), map[store.ID]store.LayerID{{3}: a.Layer}},
		{"complete", func() error { return h.Complete(ctx, store.ID{3}) }, map[store.ID]store.LayerID{}},
		{"whole again", move(b.Layer, 6, false, false), map[store.ID]store.LayerID{}},
	} {
		if err := s.do(); err != nil {
			t.Fatalf("%s: %v", s.what, err)
		}
		got, err := h.Thin(ctx)
		if err != nil || !maps.Equal(got, s.want) {
			t.Errorf("%s: %v, %v: want %v", s.what, got, err, s.want)
		}
	}
	err := h.CompareAndSwap(ctx, store.Move{Layer: a.Layer, From: store.ID{9}, To: store.ID{7}, Thin: true})
	if got, _ := h.Thin(ctx); err == nil || len(got) != 0 {
		t.Errorf("a move that fails: %v, %v", got, err)
	}
}
