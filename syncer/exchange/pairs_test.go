package exchange

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"satchel/layers"
	"satchel/layers/manifest"
	"satchel/store"
	"satchel/store/delta"
	"satchel/syncer"
	"satchel/syncer/deltas"
)

// file returns a file of chunks that are named by numbers, 40 KB each, and holes
// where the number is 0.
func file(path string, numbers ...int) layers.Entry {
	e := layers.Entry{Path: path, Type: layers.Regular, Mode: 0o644}
	for _, n := range numbers {
		x := layers.Extent{Len: 40_000}
		if n > 0 {
			x.ID = numbered(n)
		}
		e.Extents = append(e.Extents, x)
		e.Size += x.Len
	}
	return e
}

func numbered(n int) store.ID { return store.ID{0: byte(n), 1: byte(n >> 8), 31: 1} }

func numbersOf(ids []store.ID) (ns []int) {
	for _, id := range ids {
		ns = append(ns, int(id[0])+int(id[1])<<8)
	}
	return ns
}

func upFrom(first, n int) (ns []int) {
	for i := range n {
		ns = append(ns, first+i)
	}
	return ns
}

// planOf plans the way between two trees.
func planOf(t fataler, from, to layers.Tree) (pairs []pairing) {
	ctx := context.Background()
	st := newHome(t, memoryDirOf(t), nil)
	defer st.Close()
	w := st.writer(t)
	defer w.Close()
	var roots [2]layers.Root
	for i, tree := range []layers.Tree{from, to} {
		tree.Sort()
		roots[i] = must(manifest.WriteTree(ctx, w, tree))(t)
	}
	if err := w.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	p := &planner{get: st, done: idSet{}, emit: func(q pairing) { pairs = append(pairs, q) }}
	if err := p.trees(ctx, roots[0], roots[1]); err != nil {
		t.Fatal(err)
	}
	return pairs
}

// TestPlan checks which older chunks are beside which new ones.
func TestPlan(t *testing.T) {
	type pair struct{ base, target []int }
	for name, c := range map[string]struct {
		from, to layers.Tree
		want     []pair
	}{
		"nothing new": {layers.Tree{file("a", 1, 2)}, layers.Tree{file("a", 1)}, nil},
		"a small file": {
			layers.Tree{file("a", 1)}, layers.Tree{file("a", 2)},
			[]pair{{[]int{1}, []int{2}}},
		},
		"between what both have": {
			layers.Tree{file("a", upFrom(1, 20)...)},
			layers.Tree{file("a", slices.Replace(upFrom(1, 20), 10, 11, 50)...)},
			[]pair{{[]int{10, 11, 12}, []int{50}}},
		},
		"what was inserted": {
			layers.Tree{file("a", upFrom(1, 20)...)},
			layers.Tree{file("a", slices.Insert(upFrom(1, 20), 10, 50)...)},
			[]pair{{[]int{9, 10, 11, 12}, []int{50}}},
		},
		"at both ends": {
			layers.Tree{file("a", 1, 2, 3, 4, 5, 6)}, layers.Tree{file("a", 51, 2, 3, 4, 5, 56)},
			[]pair{{[]int{1, 2, 3}, []int{51}}, {[]int{4, 5, 6}, []int{56}}},
		},
		"holes": {
			layers.Tree{file("a", 1, 0, 2)}, layers.Tree{file("a", 0, 0, 3)},
			[]pair{{[]int{1, 2}, []int{3}}},
		},
		"the next version of a path": {
			layers.Tree{file("lib/modules/6.1.0-50/x.ko", 1), file("lib/modules/6.1.0-50/y.ko", 2)},
			layers.Tree{file("lib/modules/6.1.0-56/x.ko", 3), file("lib/modules/6.1.0-56/y.ko", 4)},
			[]pair{{[]int{1}, []int{3}}, {[]int{2}, []int{4}}},
		},
		"a version beside another": {
			layers.Tree{file("lib/modules/6.1.0-50/x.ko", 1)},
			layers.Tree{file("lib/modules/6.1.0-50/x.ko", 1), file("lib/modules/6.1.0-56/x.ko", 3)},
			[]pair{{[]int{1}, []int{3}}},
		},
		"moved and edited": {
			layers.Tree{file("a/report", 1, 2, 3), file("b", 9)},
			layers.Tree{file("b", 9), file("c/final", 1, 4, 3)},
			[]pair{{[]int{1, 2, 3}, []int{4}}},
		},
		"moved and changed all over": {
			layers.Tree{file("a/report.odt", 1)}, layers.Tree{file("c/report.odt", 2)},
			[]pair{{[]int{1}, []int{2}}},
		},
		"like nothing": {
			layers.Tree{file("a", 1)}, layers.Tree{file("a", 1), file("b", 2), file("c", 3)},
			[]pair{{nil, []int{2, 3}}},
		},
		"the same twice":       {layers.Tree{file("a", 1), file("b", 1)}, layers.Tree{file("a", 2), file("b", 2)}, []pair{{[]int{1}, []int{2}}}},
		"a copy of an old one": {layers.Tree{file("a", 1), file("b", 2)}, layers.Tree{file("a", 2), file("b", 3)}, []pair{{[]int{2}, []int{3}}}},
	} {
		var got []pair
		for _, p := range planOf(t, c.from, c.to) {
			got = append(got, pair{numbersOf(p.Base), numbersOf(p.Target)})
		}
		if fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s: pairs %v, want %v", name, got, c.want)
		}
	}
}

// TestPlanKeepsLimits plans random files, some of them large, and checks that
// each chunk that is missing is in one pair, and where in its file it lies.
func TestPlanKeepsLimits(t *testing.T) {
	dir := memoryDir(t)
	rapid.Check(t, func(t *rapid.T) {
		length := rapid.OneOf(rapid.IntRange(1, 12), rapid.IntRange(300, 900))
		from := file("a", upFrom(1, length.Draw(t, "old"))...)
		numbers := upFrom(1, length.Draw(t, "new"))
		for range rapid.IntRange(0, 5).Draw(t, "changes") {
			at := rapid.IntRange(0, len(numbers)-1).Draw(t, "at")
			n := min(rapid.OneOf(rapid.IntRange(1, 4), rapid.IntRange(200, 500)).Draw(t, "run"), len(numbers)-at)
			copy(numbers[at:at+n], upFrom(2000+rapid.IntRange(0, 1000).Draw(t, "first"), n))
		}
		to := file("a", numbers...)
		offsets := func(e layers.Entry) map[store.ID]map[int64]bool {
			at := map[store.ID]map[int64]bool{}
			for i, x := range e.Extents {
				if at[x.ID] == nil {
					at[x.ID] = map[int64]bool{}
				}
				at[x.ID][int64(i)*40_000] = true
			}
			return at
		}
		old, now := offsets(from), offsets(to)
		missing := idSet{}
		for id := range now {
			if old[id] == nil {
				missing.add(id)
			}
		}
		for _, p := range planOf(inDir{t, dir}, layers.Tree{from}, layers.Tree{to}) {
			if err := p.Check(); err != nil || len(p.Base)*40_000 > delta.MaxBase {
				t.Fatalf("pair of %d and %d chunks: %v", len(p.Base), len(p.Target), err)
			}
			for _, id := range p.Target {
				if !missing.has(id) {
					t.Fatalf("chunk %v is not missing, or twice in pairs", numbersOf([]store.ID{id}))
				}
				delete(missing, id)
			}
			if !now[p.Target[0]][p.Offset] || len(p.Base) > 0 && !old[p.Base[0]][p.BaseOffset] {
				t.Fatalf("offsets %d and %d are wrong", p.BaseOffset, p.Offset)
			}
		}
		if len(missing) > 0 {
			t.Fatalf("%d chunks are in no pair", len(missing))
		}
	})
}

// inDir is a test with a directory.
type inDir struct {
	fataler
	dir string
}

func memoryDirOf(t fataler) string {
	switch t := t.(type) {
	case inDir:
		return t.dir
	case testing.TB:
		return memoryDir(t)
	}
	panic("a test without a directory")
}

// lying sends deltas of its own making, or none.
type lying struct {
	*peer
	delta func(right syncer.Delta) (syncer.Delta, bool)
}

func (l lying) Deltas(ctx context.Context, layer store.LayerID, pairs []syncer.Pair, delta func(int, syncer.Delta) error, _ func(int, syncer.Sketch) error) error {
	codec := deltas.New(l.Store, l.Domain())
	for i, p := range pairs {
		right, err := codec.Make(ctx, &p)
		if err != nil {
			return err
		}
		if d, ok := l.delta(right); ok {
			if err := delta(i, d); err != nil {
				return err
			}
		}
	}
	return nil
}

// noDeltas is a server that knows nothing of them.
type noDeltas struct{ *peer }

func (noDeltas) Deltas(context.Context, store.LayerID, []syncer.Pair, func(int, syncer.Delta) error, func(int, syncer.Sketch) error) error {
	return store.ErrNotExist
}

func (noDeltas) UploadDeltas(context.Context, store.LayerID, func(func(syncer.Pair, syncer.Delta) error) error) error {
	return store.ErrNotExist
}

// TestDeltasAreVerified fetches from servers that make deltas, that make wrong
// ones, and that make none.
func TestDeltasAreVerified(t *testing.T) {
	dir := memoryDir(t)
	server := newHome(t, dir, nil)
	tree := manyFiles(50, 0)
	first := server.commit(t, tree)
	tree[7].Extents = []layers.Extent{{ID: store.ID{9}, Len: 1000}}
	second := server.commit(t, tree)
	for name, c := range map[string]struct {
		remote func(*peer) syncer.Remote
		mode   Deltas
		want   error
	}{
		"right": {remote: func(p *peer) syncer.Remote {
			return lying{p, func(d syncer.Delta) (syncer.Delta, bool) { return d, true }}
		}},
		"left out": {remote: func(p *peer) syncer.Remote {
			return lying{p, func(d syncer.Delta) (syncer.Delta, bool) { return d, false }}
		}},
		"no deltas": {remote: func(p *peer) syncer.Remote { return noDeltas{p} }},
		"not wanted": {remote: func(p *peer) syncer.Remote {
			return lying{p, func(syncer.Delta) (syncer.Delta, bool) { panic("asked for") }}
		}, mode: Never},
		"wrong": {remote: func(p *peer) syncer.Remote {
			return lying{p, func(d syncer.Delta) (syncer.Delta, bool) {
				d.Data = delta.Encode(nil, delta.Span{}, delta.Span{Data: make([]byte, d.Size())})
				return d, true
			}}
		}, want: syncer.ErrForged},
		"nonsense": {remote: func(p *peer) syncer.Remote {
			return lying{p, func(d syncer.Delta) (syncer.Delta, bool) { d.Data = []byte{0xff}; return d, true }}
		}, want: syncer.ErrForged},
	} {
		t.Run(name, func(t *testing.T) {
			b := newHome(t, dir, server)
			if err := pull(b, newPeer(server, 1), first, nil, Options{}); err != nil {
				t.Fatal(err)
			}
			w := b.writer(t)
			defer w.Close()
			remote := c.remote(newPeer(server, 1))
			must(History(t.Context(), b.Store, w, remote, b.layer, second, []store.ID{first}, Options{}))(t)
			err := Contents(t.Context(), b.Store, w, remote, b.layer, second, []store.ID{first}, Options{Deltas: c.mode})
			if !errors.Is(err, c.want) {
				t.Fatalf("error %v, want %v", err, c.want)
			}
			if err == nil {
				b.tree(t, second)
			}
		})
	}
	a := newHome(t, dir, server)
	if err := pull(a, newPeer(server, 1), first, nil, Options{}); err != nil {
		t.Fatal(err)
	}
	third := a.commit(t, manyFiles(50, 1))
	q := newPeer(newHome(t, dir, a), 1)
	if err := Push(t.Context(), a.Store, noDeltas{q}, a.layer, store.ID{}, third, Options{}); err != nil {
		t.Errorf("push to a server that takes no deltas: %v", err)
	}
}

// oneChunk is a store in which all chunks are the same.
type oneChunk []byte

func (b oneChunk) Get(context.Context, store.ID) ([]byte, error) {
	if b == nil {
		return nil, fmt.Errorf("chunk: %w", store.ErrCorrupt)
	}
	return b, nil
}

// TestLead checks what of an archive is in the target of its first changed run.
func TestLead(t *testing.T) {
	zip, gzip := oneChunk("PK\x03\x04 and so on"), oneChunk("\x1f\x8b\x08 and so on")
	for name, c := range map[string]struct {
		get      store.Getter
		from, to []int
		target   []int // of the last pair
		lead     int
	}{
		"all before":    {zip, upFrom(1, 5), []int{1, 2, 3, 9, 5}, []int{1, 2, 3, 9}, 3},
		"of gzip":       {gzip, upFrom(1, 5), []int{1, 2, 3, 9}, []int{1, 2, 3, 9}, 3},
		"nothing":       {zip, upFrom(1, 5), []int{9, 2, 3}, []int{9}, 0},
		"no archive":    {oneChunk("text"), upFrom(1, 5), []int{1, 2, 3, 9, 5}, []int{9}, 0},
		"damaged":       {oneChunk(nil), upFrom(1, 5), []int{1, 2, 3, 9, 5}, []int{9}, 0},
		"a second run":  {zip, upFrom(1, 7), []int{1, 8, 3, 4, 9, 6, 7}, []int{3, 4, 9}, 2},
		"one MiB":       {zip, upFrom(1, 40), append(upFrom(1, 39), 99), append(upFrom(14, 26), 99), 26},
		"too long":      {zip, upFrom(1, 40), append(upFrom(1, 10), upFrom(101, 100)...), upFrom(101, 100), 0},
		"chunks apart":  {zip, upFrom(1, 5), []int{3, 1, 9}, []int{3, 1, 9}, 2},
		"all are there": {zip, upFrom(1, 5), []int{1, 2, 3}, nil, 0},
	} {
		var last pairing
		p := &planner{get: c.get, done: idSet{}, emit: func(q pairing) { last = q }}
		from, to := file("a", c.from...), file("a", c.to...)
		for _, x := range from.Extents {
			p.done.add(x.ID)
		}
		if err := p.file(t.Context(), &from, &to); err != nil {
			t.Fatal(err)
		}
		if got := numbersOf(last.Target); !slices.Equal(got, c.target) {
			t.Errorf("%s: target %v, want %v", name, got, c.target)
			continue
		}
		if len(last.Target) > 0 && (len(last.pieces) != len(c.target)-c.lead || last.size != 40_000*len(c.target)) {
			t.Errorf("%s: %d of %d chunks are to move, %d bytes", name, len(last.pieces), len(last.Target), last.size)
		}
		if c.lead > 0 && !slices.Contains(numbersOf(last.Base), c.target[0]) {
			t.Errorf("%s: the base %v does not hold the lead", name, numbersOf(last.Base))
		}
	}
}
