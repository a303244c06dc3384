package server

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"satchel/layers"
	"satchel/store"
)

func TestReachFollowsHeads(t *testing.T) {
	s := serve(t, Options{})
	g := s.enrol("ana", "laptop")
	l := g.create("data", layers.Data)
	var from store.ID
	for i := range 5 {
		files := map[string]string{"same": "same"}
		for n := range 10 * i {
			files[fmt.Sprint(n)] = fmt.Sprint("file ", n, i)
		}
		to := g.commit(l, files)
		g.send(l, from, to)
		from = to
		set, err := s.reached(t.Context(), l.ID)
		ok(t, err)
		all := g.reach(to)
		if got := len(set.versions) + len(set.manifests) + len(set.contents); got != len(all) || set.head != to {
			t.Fatalf("the set has %d chunks, the version reaches %d", got, len(all))
		}
		for _, id := range all {
			if !set.has(id) {
				t.Fatalf("chunk %s is not in the set", id.Short())
			}
		}
		if len(set.versions) != i+1 || !slices.IsSortedFunc(set.contents, compare) {
			t.Fatalf("%d versions", len(set.versions))
		}
		anew, err := explore(t.Context(), s.store, &reached{}, to)
		ok(t, err)
		if !slices.Equal(anew.versions, set.versions) || !slices.Equal(anew.manifests, set.manifests) || !slices.Equal(anew.contents, set.contents) {
			t.Fatal("a set made anew is another")
		}
		older, err := s.reach.of(t.Context(), store.Head{Layer: l.ID, Version: g.reach(to)[0]})
		ok(t, err)
		if older != set {
			t.Fatal("a set of a version that was passed is made again")
		}
	}
	// A layer that was made again has nothing of the old one.
	fresh := g.version(layers.Version{Layer: l.ID, Kind: l.Kind, Time: time.Now()}, nil)
	ok(t, g.upload(l.ID, fresh))
	set, err := s.reach.of(t.Context(), store.Head{Layer: l.ID, Version: fresh})
	ok(t, err)
	if set.has(from) || !set.has(fresh) {
		t.Fatal("a set holds what its head does not reach")
	}
}

func TestReachIsBounded(t *testing.T) {
	s := serve(t, Options{})
	g := s.enrol("ana", "laptop")
	var heads []store.Head
	for i := range 8 {
		l := g.create(fmt.Sprint("data", i), layers.Data)
		v := g.commit(l, map[string]string{"a": fmt.Sprint(i)})
		g.send(l, store.ID{}, v)
		heads = append(heads, store.Head{Layer: l.ID, Version: v})
	}
	one := (&reached{versions: make(prefixes, 1), manifests: make(prefixes, 1), contents: make(prefixes, 1)}).bytes()
	r := newReach(s.store, 3*one)
	defer r.close()
	var all sync.WaitGroup
	for range 4 {
		for _, h := range heads {
			all.Go(func() {
				if set, err := r.of(t.Context(), h); err != nil || set.head != h.Version {
					t.Errorf("set %+v, %v", set, err)
				}
			})
		}
	}
	all.Wait()
	if len(r.sets) != 3 || r.total != 3*one {
		t.Fatalf("%d sets of %d bytes", len(r.sets), r.total)
	}
}
