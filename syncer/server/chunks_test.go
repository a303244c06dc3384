package server

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"satchel/layers"
	"satchel/store"
	"satchel/syncer"
	"satchel/syncer/wire"
)

// TestNoOracle asks, as somebody who knows a chunk's ID, in all ways there are,
// about a chunk of a foreign layer and about one that does not exist. Answers
// and errors must be the same.
func TestNoOracle(t *testing.T) {
	s := serve(t, Options{})
	ana, bob := s.enrol("ana", "laptop"), s.enrol("bob", "phone")
	foreign := bob.create("data", layers.Data)
	hers := bob.commit(foreign, map[string]string{"a": "a secret"})
	bob.send(foreign, store.ID{}, hers)
	own := ana.create("data", layers.Data)
	there, not := ana.st.Domain().ID([]byte("a secret")), ana.st.Domain().ID([]byte("nothing"))
	nowhere := newID()

	same := func(name string, a, b error, want error) {
		t.Helper()
		wantErr(t, a, want)
		text := func(err error, hide ...string) string { return strings.NewReplacer(hide...).Replace(err.Error()) }
		x := text(a, there.Short(), "ID", hers.Short(), "ID", foreign.ID.String(), "LAYER")
		y := text(b, not.Short(), "ID", nowhere.String(), "LAYER")
		if x != y {
			t.Errorf("%s: %q is not %q", name, x, y)
		}
	}
	_, a := ana.fetch(own.ID, there)
	_, b := ana.fetch(own.ID, not)
	same("fetch", a, b, syncer.ErrForbidden)
	_, a = ana.history(own.ID, hers)
	_, b = ana.history(own.ID, not)
	same("history", a, b, syncer.ErrForbidden)
	_, a = ana.fetch(foreign.ID, there)
	_, b = ana.fetch(nowhere, not)
	same("fetch of a layer", a, b, syncer.ErrForbidden)
	_, a = ana.history(foreign.ID, hers)
	_, b = ana.history(nowhere, not)
	same("history of a layer", a, b, syncer.ErrForbidden)
	_, a = ana.offer(foreign.ID, there)
	_, b = ana.offer(nowhere, not)
	same("offer to a layer", a, b, syncer.ErrForbidden)
	same("upload to a layer", ana.upload(foreign.ID), ana.upload(nowhere), syncer.ErrForbidden)
	same("push to a layer", ana.push(foreign.ID, hers, not), ana.push(nowhere, hers, not), syncer.ErrForbidden)

	var m, n *syncer.MissingError
	if a, b := ana.push(own.ID, store.ID{}, hers), ana.push(own.ID, store.ID{}, not); !errors.As(a, &m) || !errors.As(b, &n) || len(m.IDs) != len(n.IDs) {
		t.Errorf("push of a foreign version %v, of none %v", a, b)
	}
	wants, err := ana.offer(own.ID, there, not)
	ok(t, err)
	if !wants[0] || !wants[1] {
		t.Errorf("offered a foreign chunk and a new one: %v", wants)
	}
}

func TestReaderMayNotWrite(t *testing.T) {
	s := serve(t, Options{})
	ana, bob := s.enrol("ana", "laptop"), s.enrol("bob", "phone")
	l := ana.create("data", layers.Data)
	v := ana.commit(l, map[string]string{"a": "one"})
	ana.send(l, store.ID{}, v)
	_, err := s.registry.SetGrant(l.ID, syncer.Grant{To: "user:bob", Access: syncer.Read})
	ok(t, err)
	_, err = bob.fetch(l.ID, ana.reach(v)...)
	ok(t, err)
	wantErr(t, bob.upload(l.ID, v), syncer.ErrForbidden)
	wantErr(t, bob.push(l.ID, v, v), syncer.ErrForbidden)
	own := bob.create("data", layers.Data)
	if wants, err := bob.offer(own.ID, v); err != nil || wants[0] {
		t.Fatalf("what a readable layer reaches is wanted: %v, %v", wants, err)
	}
	for _, kind := range []layers.Kind{layers.OS, layers.Group} {
		wantErr(t, bob.json("POST", "/v1/layers", syncer.NewLayer{ID: newID(), Name: "debian", Kind: kind}, nil), syncer.ErrForbidden)
	}
	wantErr(t, bob.json("POST", "/v1/layers", syncer.NewLayer{ID: newID(), Name: "x", Kind: layers.Local}, nil), syncer.ErrMalformed)
	wantErr(t, bob.json("POST", "/v1/layers", syncer.NewLayer{ID: l.ID, Name: "data", Kind: layers.Data}, nil), syncer.ErrForbidden)
	ok(t, ana.json("POST", "/v1/layers", syncer.NewLayer{ID: l.ID, Name: "data", Kind: layers.Data}, nil)) // again
}

func TestMalformedStreams(t *testing.T) {
	s := serve(t, Options{})
	g := s.enrol("ana", "laptop")
	l := g.create("data", layers.Data)
	v := g.commit(l, map[string]string{"a": "one"})
	stream := func(write ...func(*wire.Writer) error) []byte {
		var b bytes.Buffer
		w := wire.NewWriter(&b)
		for _, f := range write {
			ok(t, f(w))
		}
		ok(t, w.Close())
		return b.Bytes()
	}
	ids := func(w *wire.Writer) error { return w.IDs([]store.ID{v}) }
	record := func(kind byte, n uint32) []byte {
		b := slices.Clone(stream(ids)[:8]) // the header
		return append(binary.LittleEndian.AppendUint32(append(b, kind), n), make([]byte, min(n, 64))...)
	}
	version := stream(ids)
	version[4]++
	for _, c := range []struct {
		name, verb string
		body       []byte
		want       error
	}{
		{"another version", "fetch", version, syncer.ErrProtocol},
		{"too many IDs", "fetch", record(1, (syncer.MaxIDs+1)*32), syncer.ErrTooLarge},
		{"too many IDs", "offer", record(1, (syncer.MaxIDs+1)*32), syncer.ErrTooLarge},
		{"too large a frame", "upload", record(2, 1<<30), syncer.ErrTooLarge},
		{"an unknown record", "upload", record(9, 1), syncer.ErrMalformed},
		{"half an ID", "fetch", record(1, 31), syncer.ErrMalformed},
		{"nothing", "fetch", stream(), syncer.ErrMalformed},
		{"no bytes", "fetch", nil, syncer.ErrMalformed},
		{"two records", "offer", stream(ids, ids), syncer.ErrMalformed},
		{"cut off", "offer", stream(ids)[:20], syncer.ErrMalformed},
		{"IDs for frames", "upload", stream(ids), syncer.ErrMalformed},
		{"bytes after the end", "fetch", append(stream(ids), 1), syncer.ErrMalformed},
		{"no frame", "upload", stream(func(w *wire.Writer) error { return w.Frame([]byte("no frame")) }), syncer.ErrForged},
	} {
		t.Run(c.verb+" "+c.name, func(t *testing.T) {
			_, err := g.do("POST", at(l.ID, c.verb), bytes.NewReader(c.body))
			wantErr(t, err, c.want)
		})
	}
	_, err := g.history(l.ID, v, make([]store.ID, syncer.MaxIDs+1)...)
	wantErr(t, err, syncer.ErrTooLarge)
}

// TestForgedFrame damages the second frame of an upload: it is refused, and
// what came before is kept.
func TestForgedFrame(t *testing.T) {
	s := serve(t, Options{})
	g := s.enrol("ana", "laptop")
	l := g.create("data", layers.Data)
	v := g.commit(l, map[string]string{"a": strings.Repeat("compressible ", 100)})
	var frames [][]byte
	for _, id := range g.reach(v) {
		ok(t, g.st.Frames(t.Context(), []store.ID{id}, func(f []byte) error {
			frames = append(frames, bytes.Clone(f))
			return nil
		}))
	}
	for at := range frames[1] {
		bad := bytes.Clone(frames[1])
		bad[at] ^= 1
		_, err := g.stream("/v1/layers/"+l.ID.String()+"/upload", func(w *wire.Writer) error {
			return errors.Join(w.Frame(frames[0]), w.Frame(bad))
		})
		if err == nil { // a bit that says nothing: then the chunk is another
			t.Fatalf("a frame with byte %d changed was taken", at)
		}
		wantErr(t, err, syncer.ErrForged)
	}
	wants, err := g.offer(l.ID, g.reach(v)...)
	ok(t, err)
	if wants[0] || !wants[1] {
		t.Fatalf("wants %v: want the frame before the damage kept, and no more", wants)
	}
}

// TestCutUpload cuts an upload off after a frame.
func TestCutUpload(t *testing.T) {
	s := serve(t, Options{})
	g := s.enrol("ana", "laptop")
	l := g.create("data", layers.Data)
	all := g.reach(g.commit(l, map[string]string{"a": "one"}))
	var b bytes.Buffer
	w := wire.NewWriter(&b)
	ok(t, g.st.Frames(t.Context(), all, w.Frame))
	ok(t, w.Close())
	_, err := g.do("POST", at(l.ID, "upload"), io.LimitReader(&b, int64(b.Len()-3)))
	wantErr(t, err, syncer.ErrMalformed)
	wants, err := g.offer(l.ID, all...)
	ok(t, err)
	if slices.Contains(wants, true) {
		t.Fatalf("wants %v after a cut behind the last frame", wants)
	}
}
