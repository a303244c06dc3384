package server

import (
	"errors"
	"io"
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

// TestNamesOfOthers has a publisher ask for names below other users': they stay
// theirs.
func TestNamesOfOthers(t *testing.T) {
	s := serve(t, Options{})
	ana, pub := s.enrol("ana", "laptop"), s.enrol("pub", "builder")
	for name, want := range map[string]error{
		"ana/data": syncer.ErrForbidden,
		"pub/data": nil,
		"apps/one": nil,
		"ana":      nil,
	} {
		err := pub.json("POST", "/v1/layers", syncer.NewLayer{ID: newID(), Name: name, Kind: layers.Group}, nil)
		if !errors.Is(err, want) {
			t.Errorf("%s: error %v, want %v", name, err, want)
		}
	}
	ana.create("data", layers.Data)
}

// TestTransfersAreShared has one device begin as many transfers as it may: those
// of others go on.
func TestTransfersAreShared(t *testing.T) {
	s := serve(t, Options{Transfers: 4})
	greedy, g := s.enrol("ana", "greedy"), s.enrol("bob", "laptop")
	mine, l := greedy.create("data", layers.Data), g.create("data", layers.Data)
	for range 8 {
		body, stalled := io.Pipe()
		defer stalled.Close()
		go greedy.do("POST", at(mine.ID, "upload"), body) //nolint:errcheck // it never ends by itself
		_, err := stalled.Write([]byte("S"))
		ok(t, err)
	}
	g.send(l, store.ID{}, g.commit(l, map[string]string{"a": "one"}))
}
