package server

import (
	"testing"

	"satchel/layers"
	"satchel/store"
	"satchel/syncer"
)

// TestLayerMadeAgain removes a layer and has a device send it anew, under the
// same ID: nothing of what it was counts as being there.
func TestLayerMadeAgain(t *testing.T) {
	s := serve(t, Options{})
	g := s.enrol("ana", "laptop")
	l := g.create("data", layers.Data)
	v1 := g.commit(l, map[string]string{"a": "one"})
	g.send(l, store.ID{}, v1)
	v2 := g.commit(l, map[string]string{"a": "two"})
	g.send(l, v1, v2)

	ok(t, s.registry.RemoveLayer(l.ID))
	ok(t, s.removeHead(t.Context(), l.ID))
	ok(t, g.json("POST", "/v1/layers", syncer.NewLayer{ID: l.ID, Name: "data", Kind: layers.Data}, nil))
	g.send(l, store.ID{}, v1)
	_, err := g.fetch(l.ID, v2)
	wantErr(t, err, syncer.ErrForbidden)
	g.send(l, v1, v2)
	_, err = g.fetch(l.ID, g.reach(v2)...)
	ok(t, err)
}
