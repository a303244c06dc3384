package heads

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"satchel/store"
)

func TestEvict(t *testing.T) {
	h := newHeads(t)
	a := create(t, h, "a")
	ids := make([]store.ID, 8)
	for i := range ids {
		ids[i] = store.ID{byte(i + 1)}
	}
	old, thin, head, read, wrote, dead, kept := ids[0], ids[1], ids[2], ids[3], ids[4], ids[5], ids[6]
	for _, m := range []store.Move{{To: old}, {From: old, To: thin, Thin: true}, {From: thin, To: head, Whole: true}} {
		m.Layer = a.Layer
		if err := h.CompareAndSwap(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	lease := func(writer bool, root store.ID) *Held {
		l, err := h.Lease(t.Context(), "test", writer, root)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	reader, writer := lease(false, read), lease(true, wrote)
	lease(false, dead).abandon()
	all := map[store.ID]store.LayerID{}
	for _, id := range ids[:7] {
		all[id] = a.Layer
	}

	asked := errors.New("cannot be read")
	if _, err := h.Evict(t.Context(), all, func() ([]store.ID, error) { return nil, asked }); !errors.Is(err, asked) {
		t.Errorf("what to keep is not known, and evict returns %v", err)
	}
	wantPartial(t, h, "nobody knows what to keep")

	evict := func() []byte {
		got, err := h.Evict(t.Context(), all, func() ([]store.ID, error) { return []store.ID{kept}, nil })
		if err != nil {
			t.Fatal(err)
		}
		var firsts []byte
		for _, id := range got {
			firsts = append(firsts, id[0])
		}
		slices.Sort(firsts)
		return firsts
	}
	if got, want := evict(), []byte{old[0], thin[0], dead[0]}; !bytes.Equal(got, want) {
		t.Errorf("evicted %v, want %v", got, want)
	}
	wantPartial(t, h, "evicted", old[0], thin[0], dead[0])
	if left, err := h.Thin(t.Context()); err != nil || len(left) != 0 {
		t.Errorf("an evicted version is still to be filled: %v, %v", left, err)
	}
	if err := errors.Join(reader.Release(t.Context()), writer.Release(t.Context())); err != nil {
		t.Fatal(err)
	}
	evict()
	wantPartial(t, h, "leases have ended", old[0], thin[0], read[0], wrote[0], dead[0])
	if err := h.Complete(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	wantPartial(t, h, "one is here again", thin[0], read[0], wrote[0], dead[0])
}
