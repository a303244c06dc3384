package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"

	"satchel/layers"
	"satchel/store"
	"satchel/syncer"
	"satchel/syncer/deltas"
	"satchel/syncer/wire"
)

// pairs asks for deltas and returns the chunks that they make.
func (g *gadget) pairs(l store.LayerID, pairs ...syncer.Pair) (map[store.ID]string, error) {
	got, sketches, err := g.answers(l, pairs...)
	if len(sketches) > 0 {
		return nil, fmt.Errorf("%d sketches", len(sketches))
	}
	return got, err
}

// answers asks for deltas or sketches.
func (g *gadget) answers(l store.LayerID, pairs ...syncer.Pair) (map[store.ID]string, map[int]syncer.Sketch, error) {
	r, err := g.stream(at(l, "deltas"), func(w *wire.Writer) error {
		for _, p := range pairs {
			if err := w.Pair(p); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	codec := deltas.New(g.st, g.st.Domain())
	got, sketches := map[store.ID]string{}, map[int]syncer.Sketch{}
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return got, sketches, nil
		}
		if err != nil {
			return nil, nil, err
		}
		if rec.Type == wire.Sketch {
			n, s := rec.Sketch()
			sketches[n] = s
			continue
		}
		n, d, err := rec.Delta()
		if err != nil {
			return nil, nil, err
		}
		err = codec.Apply(context.Background(), &pairs[n], d, func(chunks [][]byte) error {
			for i, b := range chunks {
				got[pairs[n].Target[i]] = string(b)
			}
			return nil
		})
		if err != nil {
			return nil, nil, err
		}
	}
}

func (g *gadget) pair(base, target string) syncer.Pair {
	d := g.st.Domain()
	p := syncer.Pair{Target: []store.ID{d.ID([]byte(target))}}
	if base != "" {
		p.Base = []store.ID{d.ID([]byte(base))}
	}
	return p
}

// counted returns how many deltas of a source were sent.
func (s *site) counted(source string) (n float64) {
	s.t.Helper()
	families, err := s.metrics.registry.Gather()
	ok(s.t, err)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "satchel_deltas_total" && m.GetLabel()[0].GetValue() == source {
				n += m.GetCounter().GetValue()
			}
		}
	}
	return n
}

// text makes up a text, and the same with a few words changed.
func text(words string) (old, edited string) {
	old = strings.Repeat(words+" and so on; ", 500)
	return old, old[:900] + words + "!" + old[950:]
}

// TestDeltas has devices fetch and send deltas, and checks that each is made
// once.
func TestDeltas(t *testing.T) {
	s := serve(t, Options{})
	ana, home, bob := s.enrol("ana", "laptop"), s.enrol("ana", "home"), s.enrol("bob", "phone")
	old, edited := text("to be")
	l := ana.create("data", layers.Data)
	v1 := ana.commit(l, map[string]string{"a": old})
	ana.send(l, store.ID{}, v1)
	_, err := home.fetch(l.ID, ana.reach(v1)...)
	ok(t, err)

	// The edit goes up as a delta, then down as one.
	v2 := ana.commit(l, map[string]string{"a": edited})
	codec := deltas.New(ana.st, ana.st.Domain())
	p := ana.pair(old, edited)
	data, err := codec.Make(t.Context(), &p)
	ok(t, err)
	send := func(g *gadget, l store.LayerID, p syncer.Pair, d syncer.Delta) error {
		_, err := g.stream(at(l, "upload"), func(w *wire.Writer) error { return errors.Join(w.Pair(p), w.Delta(0, d)) })
		return err
	}
	ok(t, send(ana, l.ID, p, data))
	var rest []store.ID
	for _, id := range ana.reach(v2) {
		if id != p.Target[0] {
			rest = append(rest, id)
		}
	}
	ok(t, ana.upload(l.ID, rest...))
	ok(t, ana.push(l.ID, v1, v2))
	for range 2 {
		got, err := home.pairs(l.ID, home.pair(old, edited))
		ok(t, err)
		if got[p.Target[0]] != edited {
			t.Errorf("the delta makes %d bytes, want %d", len(got[p.Target[0]]), len(edited))
		}
	}
	if made, kept := s.counted("made"), s.counted("kept"); made != 1 || kept != 1 {
		t.Errorf("%v deltas were made and %v kept, want 1 and 1", made, kept)
	}

	// A base that the device may not see is, to it, not there.
	foreign := bob.create("data", layers.Data)
	hers := bob.commit(foreign, map[string]string{"b": edited})
	bob.send(foreign, store.ID{}, hers)
	for _, base := range []string{old, "what nobody has"} {
		got, err := bob.pairs(foreign.ID, bob.pair(base, edited))
		ok(t, err)
		if len(got) != 0 {
			t.Errorf("a delta from a base that is not to be seen: %d", len(got))
		}
		wantErr(t, send(bob, foreign.ID, bob.pair(base, edited), data), store.ErrNotExist)
	}
	_, err = bob.pairs(foreign.ID, bob.pair(edited, old))
	wantErr(t, err, syncer.ErrForbidden)
	_, err = bob.pairs(l.ID, bob.pair("", old))
	wantErr(t, err, syncer.ErrForbidden)

	// A base that was uploaded but never pushed is there until gc takes it.
	stray := ana.commit(l, map[string]string{"a": "stray, but uploaded"})
	ok(t, ana.upload(l.ID, ana.reach(stray)...))
	for _, made := range []int{1, 0} {
		got, err := ana.pairs(l.ID, ana.pair("stray, but uploaded", edited))
		ok(t, err)
		if len(got) != made {
			t.Errorf("%d chunks from a base that was uploaded, want %d", len(got), made)
		}
		for range 2 {
			_, err := s.store.GC(t.Context(), s.repo.Walker())
			ok(t, err)
		}
	}

	// What a delta makes is named anew.
	lie := ana.pair(old, "something else of another length")
	wantErr(t, send(ana, l.ID, lie, data), syncer.ErrForged)
	lie = ana.pair(old, edited)
	lie.Target[0][0] ^= 1
	wantErr(t, send(ana, l.ID, lie, data), syncer.ErrForged)
	wantErr(t, send(ana, l.ID, p, syncer.Delta{Lens: []int{3}}), syncer.ErrForged)
	if wants, err := ana.offer(l.ID, lie.Target[0]); err != nil || !wants[0] {
		t.Errorf("a forged chunk was kept: %v, %v", wants, err)
	}
	for name, write := range map[string]func(w *wire.Writer) error{
		"a pair alone":     func(w *wire.Writer) error { return w.Pair(p) },
		"two pairs":        func(w *wire.Writer) error { return errors.Join(w.Pair(p), w.Pair(p)) },
		"a delta alone":    func(w *wire.Writer) error { return w.Delta(0, data) },
		"IDs in an upload": func(w *wire.Writer) error { return w.IDs(p.Target) },
	} {
		if _, err := ana.stream(at(l.ID, "upload"), write); !errors.Is(err, syncer.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	many := syncer.Pair{Base: make([]store.ID, syncer.MaxPairBase), Target: p.Target}
	_, err = ana.pairs(l.ID, many, many, many, many)
	wantErr(t, err, syncer.ErrTooLarge)
}

// TestSketches asks for what a base lacks, and then for the delta from the base
// and a chunk that has it.
func TestSketches(t *testing.T) {
	s := serve(t, Options{})
	ana, home, bob := s.enrol("ana", "laptop"), s.enrol("ana", "home"), s.enrol("bob", "phone")
	letters := func(seed uint64) string {
		r, b := rand.New(rand.NewPCG(seed, 1)), make([]byte, 40_000)
		for i := range b {
			b[i] = byte('a' + r.IntN(26))
		}
		return string(b)
	}
	old, elsewhere := letters(1), letters(2)
	edited := old[:20_000] + elsewhere[5_000:25_000] + old[20_000:]
	l := ana.create("data", layers.Data)
	v1 := ana.commit(l, map[string]string{"a": old, "b": elsewhere})
	ana.send(l, store.ID{}, v1)
	_, err := home.fetch(l.ID, ana.reach(v1)...)
	ok(t, err)
	v2 := ana.commit(l, map[string]string{"a": edited, "b": elsewhere})
	ana.send(l, v1, v2)

	p := home.pair(old, edited)
	p.Sketch = true
	for range 2 {
		got, sketches, err := home.answers(l.ID, p)
		ok(t, err)
		if len(got) > 0 || len(sketches[0]) < 10 {
			t.Errorf("%d chunks and a sketch of %d marks", len(got), len(sketches[0]))
		}
	}
	p.Others = home.pair(elsewhere, edited).Base
	got, sketches, err := home.answers(l.ID, p)
	ok(t, err)
	if len(sketches) > 0 || got[p.Target[0]] != edited {
		t.Errorf("%d sketches where nothing is lacking, %d chunks", len(sketches), len(got))
	}
	same := ana.pair(edited, edited)
	same.Sketch = true
	if _, sketches, err = ana.answers(l.ID, same); err != nil || len(sketches) > 0 {
		t.Errorf("a sketch where nothing is lacking: %v", err)
	}

	// What the device may not see is no better among the others than as the base.
	foreign := bob.create("data", layers.Data)
	his := bob.commit(foreign, map[string]string{"a": old})
	bob.send(foreign, store.ID{}, his)
	v3 := bob.commit(foreign, map[string]string{"a": edited})
	bob.send(foreign, his, v3)
	for name, other := range map[string]string{"another's": elsewhere, "nobody's": "what nobody has"} {
		for _, sketch := range []bool{true, false} {
			p := bob.pair(old, edited)
			p.Sketch, p.Others = sketch, bob.pair(other, edited).Base
			got, sketches, err := bob.answers(foreign.ID, p)
			ok(t, err)
			if len(got)+len(sketches) > 0 {
				t.Errorf("%s chunk among the others is answered", name)
			}
			_, err = bob.stream(at(foreign.ID, "upload"), func(w *wire.Writer) error {
				return errors.Join(w.Pair(p), w.Delta(0, syncer.Delta{Lens: []int{3}, Data: []byte{0}}))
			})
			wantErr(t, err, store.ErrNotExist)
		}
	}
	foul := bob.pair(old, elsewhere)
	foul.Sketch = true
	_, _, err = bob.answers(foreign.ID, foul)
	wantErr(t, err, syncer.ErrForbidden)
}

func TestDeltaCache(t *testing.T) {
	dir := t.TempDir()
	c, err := openDeltaCache(dir, 1000)
	ok(t, err)
	made := 0
	get := func(key byte, size int) []byte {
		t.Helper()
		b, _, err := c.get(t.Context(), store.ID{key}, func() ([]byte, error) {
			made++
			return bytes.Repeat([]byte{key}, size), nil
		})
		ok(t, err)
		if !bytes.Equal(b, bytes.Repeat([]byte{key}, size)) {
			t.Errorf("delta %d is %q", key, b)
		}
		return b
	}
	get(1, 100)
	get(1, 100)
	ok(t, os.WriteFile(c.path(store.ID{1}), []byte("damaged"), 0o600))
	get(1, 100)
	if made != 2 {
		t.Errorf("made %d times, want once and once more after the damage", made)
	}
	if c, err = openDeltaCache(dir, 1000); err != nil {
		t.Fatal(err)
	}
	get(1, 100)
	if made != 2 {
		t.Error("what an earlier run made was made again")
	}
	for key := byte(2); key < 30; key++ {
		get(key, 100)
		get(1, 100) // so that it was used last
	}
	if made != 30 {
		t.Errorf("%d were made, want 30: what is used does not go", made)
	}
	ok(t, c.trim())
	if c.total > 1100 {
		t.Errorf("%d bytes are kept, want 1000", c.total)
	}
}

// TestDeltaCacheSurvivesWhoLeaves has a delta made for one who goes away while
// others wait for it.
func TestDeltaCacheSurvivesWhoLeaves(t *testing.T) {
	c, err := openDeltaCache(t.TempDir(), 1000)
	ok(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	begun := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		_, _, err := c.get(ctx, store.ID{1}, func() ([]byte, error) {
			close(begun)
			<-ctx.Done()
			return nil, ctx.Err()
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("who left: %v", err)
		}
	})
	<-begun
	for range 3 {
		all.Go(func() {
			b, _, err := c.get(t.Context(), store.ID{1}, func() ([]byte, error) { return []byte("delta"), nil })
			if err != nil || string(b) != "delta" {
				t.Errorf("%q, %v", b, err)
			}
		})
	}
	cancel()
	all.Wait()
}
