package server

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"satchel/layers"
	"satchel/layers/manifest"
	"satchel/store"
	"satchel/syncer"
)

func TestPushAndFetch(t *testing.T) {
	s := serve(t, Options{})
	laptop, desktop := s.enrol("ana", "laptop"), s.enrol("ana", "desktop")
	l := laptop.create("data", layers.Data)
	if l.Name != "ana/data" || l.Access != syncer.Write || l.Owner != "ana" {
		t.Fatalf("layer %+v", l)
	}
	v1 := laptop.commit(l, map[string]string{"a": "one", "b": "two", "empty": ""})
	v2 := laptop.commit(l, map[string]string{"a": "one", "c": "three"})
	laptop.send(l, store.ID{}, v2) // both versions at once

	st, err := desktop.state()
	ok(t, err)
	if len(st.Layers) != 1 || st.Layers[0].Version != v2 || st.Device != "desktop" || st.User != "ana" {
		t.Fatalf("state %+v", st)
	}
	got, err := desktop.history(l.ID, v2)
	ok(t, err)
	if !sameIDs(got, []store.ID{v1, v2}) {
		t.Fatalf("history %v", got)
	}
	if got, err = desktop.history(l.ID, v2, v1); err != nil || !sameIDs(got, []store.ID{v2}) {
		t.Fatalf("history beyond the first version: %v, %v", got, err)
	}
	all := laptop.reach(v2)
	if got, err = desktop.fetch(l.ID, all...); err != nil || !sameIDs(got, all) {
		t.Fatalf("fetched %d of %d chunks: %v", len(got), len(all), err)
	}
	if !sameIDs(desktop.reach(v2), all) {
		t.Fatal("the version is not the same on the other device")
	}
	wants, err := desktop.offer(l.ID, all...)
	ok(t, err)
	if slices.Contains(wants, true) {
		t.Fatal("the server wants what its layer reaches")
	}
	ok(t, laptop.push(l.ID, store.ID{}, v2)) // once more
}

func sameIDs(a, b []store.ID) bool {
	order := func(x, y store.ID) int { return slices.Compare(x[:], y[:]) }
	return slices.Equal(slices.SortedFunc(slices.Values(a), order), slices.SortedFunc(slices.Values(b), order))
}

func TestPushRefusals(t *testing.T) {
	s := serve(t, Options{})
	g := s.enrol("ana", "laptop")
	l, other := g.create("data", layers.Data), g.create("other", layers.Data)
	v1 := g.commit(l, map[string]string{"a": "one"})
	g.send(l, store.ID{}, v1)
	v2 := g.commit(l, map[string]string{"a": "two"})
	g.send(l, v1, v2)
	v3 := g.commit(l, map[string]string{"a": "three"})

	base := layers.Version{Layer: l.ID, Kind: l.Kind, Time: time.Now(), Parents: []store.ID{v2}}
	with := func(change func(*layers.Version)) layers.Version {
		v := base
		change(&v)
		return v
	}
	stray := g.version(with(func(v *layers.Version) { v.Parents = nil }), nil)
	for _, c := range []struct {
		name     string
		from, to store.ID
		want     error
	}{
		{"replayed", v1, v2, nil}, // the head is there
		{"replayed below the head", store.ID{}, v1, syncer.ErrReplayed},
		{"back to an older version", v2, v1, syncer.ErrReplayed},
		{"stale", v1, v3, store.ErrMoved},
		{"from no version", store.ID{}, v3, store.ErrMoved},
		{"nothing", v2, store.ID{}, syncer.ErrMalformed},
		{"of another history", v2, stray, syncer.ErrNotDescendant},
		{"of another layer", v2, g.version(with(func(v *layers.Version) { v.Layer = other.ID }), nil), syncer.ErrManifest},
		{"of another kind", v2, g.version(with(func(v *layers.Version) { v.Kind = layers.OS }), nil), syncer.ErrManifest},
		{"a parent of another layer", v2, g.version(with(func(v *layers.Version) {
			v.Parents = append(v.Parents, g.version(layers.Version{Layer: other.ID, Kind: l.Kind, Time: time.Now()}, nil))
		}), nil), syncer.ErrManifest},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !c.to.IsZero() {
				ok(t, g.upload(l.ID, g.reach(c.to)...))
			}
			err := g.push(l.ID, c.from, c.to)
			if !errors.Is(err, c.want) {
				t.Fatalf("error %v, want %v", err, c.want)
			}
		})
	}
	st, err := g.state()
	ok(t, err)
	if st.Layers[0].Version != v2 {
		t.Fatal("a refused push moved the head")
	}
}

// TestPushOfForgedManifests pushes versions whose chunks are all there and
// rightly named, but that are not what versions have to be.
func TestPushOfForgedManifests(t *testing.T) {
	s := serve(t, Options{})
	g := s.enrol("ana", "laptop")
	l := g.create("data", layers.Data)
	v1 := g.commit(l, map[string]string{"a": "one", "b": "two"})
	g.send(l, store.ID{}, v1)
	first, err := manifest.ReadVersion(t.Context(), g.st, v1)
	ok(t, err)

	put := func(data []byte) store.ID {
		w, err := g.st.Begin(t.Context(), "test")
		ok(t, err)
		defer w.Close()
		ids, err := w.Put(t.Context(), data)
		ok(t, err)
		ok(t, w.Flush(t.Context()))
		return ids[0]
	}
	version := func(change func(*layers.Version)) store.ID {
		v := layers.Version{Layer: l.ID, Kind: l.Kind, Time: time.Now(), Parents: []store.ID{v1}, Tree: first.Tree}
		change(&v)
		w, err := g.st.Begin(t.Context(), "test")
		ok(t, err)
		defer w.Close()
		id, err := manifest.WriteVersion(t.Context(), w, v)
		ok(t, err)
		ok(t, w.Flush(t.Context()))
		return id
	}
	garbage := put([]byte(manifest.Magic + "garbage"))
	node := first.Tree.ID
	for _, c := range []struct {
		name string
		to   store.ID
		with []store.ID
	}{
		{"no version at all", garbage, nil},
		{"a tree for a version", node, nil},
		{"a malformed tree", version(func(v *layers.Version) { v.Tree.ID = garbage }), []store.ID{garbage}},
		{"a version for a tree", version(func(v *layers.Version) { v.Tree.ID = v1 }), nil},
		{"a wrong number of entries", version(func(v *layers.Version) { v.Tree.Entries++ }), nil},
		{"a wrong number of files", version(func(v *layers.Version) { v.Tree.Files-- }), nil},
		{"a wrong number of bytes", version(func(v *layers.Version) { v.Tree.Bytes += 100 }), nil},
		{"a wrong base", version(func(v *layers.Version) { v.Base = first.Tree; v.Base.Files = 0 }), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			ok(t, g.upload(l.ID, append(c.with, c.to)...))
			wantErr(t, g.push(l.ID, v1, c.to), syncer.ErrManifest)
		})
	}
}

// TestManifestAsContents pushes a file of which a chunk is a manifest: a walk
// that met it as contents would not look below it where it is a manifest.
func TestManifestAsContents(t *testing.T) {
	s := serve(t, Options{})
	g := s.enrol("ana", "laptop")
	l := g.create("data", layers.Data)
	v1 := g.commit(l, map[string]string{"a": "one"})
	g.send(l, store.ID{}, v1)
	v, err := manifest.ReadVersion(t.Context(), g.st, v1)
	ok(t, err)
	for name, id := range map[string]store.ID{"of the layer": v.Tree.ID, "uploaded": g.version(layers.Version{Layer: l.ID, Kind: l.Kind}, nil)} {
		t.Run(name, func(t *testing.T) {
			b, err := g.st.Get(t.Context(), id)
			ok(t, err)
			forged := g.version(layers.Version{Layer: l.ID, Kind: l.Kind, Parents: []store.ID{v1}, Time: time.Now()},
				map[string]string{"f": string(b)})
			ok(t, g.upload(l.ID, g.reach(forged)...))
			missing := (*syncer.MissingError)(nil)
			if err := g.push(l.ID, v1, forged); !errors.As(err, &missing) || !slices.Contains(missing.IDs, id) {
				t.Fatalf("error %v, want the chunk missing as contents", err)
			}
		})
	}
}

func TestPushOfMissingChunks(t *testing.T) {
	s := serve(t, Options{})
	ana, bob := s.enrol("ana", "laptop"), s.enrol("bob", "phone")
	secret := bob.create("data", layers.Data)
	hers := bob.commit(secret, map[string]string{"secret": "known by its hash only"})
	bob.send(secret, store.ID{}, hers)

	l := ana.create("data", layers.Data)
	to := ana.commit(l, map[string]string{"mine": "text", "secret": "known by its hash only"})
	all := ana.reach(to)
	missing := func(want ...store.ID) {
		t.Helper()
		var m *syncer.MissingError
		if err := ana.push(l.ID, store.ID{}, to); !errors.As(err, &m) || !sameIDs(m.IDs, want) {
			t.Fatalf("error %v, want %d missing", err, len(want))
		}
	}
	missing(to)
	var contents, manifests []store.ID
	for _, id := range all {
		b, err := ana.st.Get(t.Context(), id)
		ok(t, err)
		if len(b) > 4 && string(b[:4]) == manifest.Magic {
			manifests = append(manifests, id)
		} else {
			contents = append(contents, id)
		}
	}
	ok(t, ana.upload(l.ID, manifests...))
	missing(contents...) // that the store has one of them for bob changes nothing
	wants, err := ana.offer(l.ID, all...)
	ok(t, err)
	for i, id := range all {
		if wants[i] != slices.Contains(contents, id) {
			t.Fatalf("wants[%d] = %v", i, wants[i])
		}
	}
	ok(t, ana.upload(l.ID, contents...))
	ok(t, ana.push(l.ID, store.ID{}, to))
}

func TestRacingPushes(t *testing.T) {
	s := serve(t, Options{})
	first := s.enrol("ana", "device")
	l := first.create("data", layers.Data)
	v1 := first.commit(l, map[string]string{"a": "one"})
	first.send(l, store.ID{}, v1)

	const n = 4
	errs, tos := make([]error, n), make([]store.ID, n)
	var ready, done sync.WaitGroup
	ready.Add(n)
	for i := range n {
		g := s.enrol("ana", fmt.Sprintf("device%d", i))
		done.Go(func() {
			defer func() { errs[i] = errors.Join(errs[i], g.push(l.ID, v1, tos[i])) }()
			defer ready.Wait()
			defer ready.Done()
			tos[i] = g.version(layers.Version{Layer: l.ID, Kind: l.Kind, Parents: []store.ID{v1}, Time: time.Now()},
				map[string]string{"a": fmt.Sprint(i)})
			v, err := manifest.ReadVersion(t.Context(), g.st, tos[i])
			if err != nil {
				errs[i] = err
				return
			}
			ids := []store.ID{tos[i], v.Tree.ID}
			ids = append(ids, g.st.Domain().ID([]byte(fmt.Sprint(i))))
			errs[i] = g.upload(l.ID, ids...)
		})
	}
	done.Wait()
	st, err := first.state()
	ok(t, err)
	var won int
	for i, err := range errs {
		switch {
		case err == nil && st.Layers[0].Version == tos[i]:
			won++
		case !errors.Is(err, store.ErrMoved):
			t.Errorf("push %d: %v", i, err)
		}
	}
	if won != 1 {
		t.Fatalf("%d pushes won", won)
	}
}
