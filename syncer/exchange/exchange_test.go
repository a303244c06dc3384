package exchange

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"satchel/layers"
	"satchel/layers/layerstest"
	"satchel/layers/manifest"
	"satchel/layers/repo"
	"satchel/store"
	"satchel/store/pack"
	"satchel/syncer"
)

// manyFiles returns a tree of n files with a chunk each.
func manyFiles(n int, salt byte) layers.Tree {
	tree := layers.Tree{{Type: layers.Dir, Mode: 0o755}}
	for i := range n {
		id := store.ID{0: 1, 1: salt, 2: byte(i), 3: byte(i >> 8)}
		tree = append(tree, layers.Entry{Path: fmt.Sprintf("dir%02d/file%05d", i/100, i), Type: layers.Regular, Mode: 0o644,
			Extents: []layers.Extent{{ID: id, Len: int64(i)}}})
	}
	return tree
}

// pull fetches a version as a device does, and moves the head to it.
func pull(h *home, p *peer, want store.ID, held []store.ID, opt Options) error {
	ctx := context.Background()
	w, err := h.Begin(ctx, "pull")
	if err != nil {
		return err
	}
	defer w.Close()
	head, err := h.Heads().Head(ctx, h.layer)
	if err != nil {
		return err
	}
	var have []store.ID
	if !head.Version.IsZero() {
		have = []store.ID{head.Version}
	}
	ids, err := History(ctx, h.Store, w, p, h.layer, want, have, opt)
	if err != nil {
		return err
	}
	if err := Contents(ctx, h.Store, w, p, h.layer, want, append(held, have...), opt); err != nil {
		return err
	}
	return h.Heads().CompareAndSwap(ctx, store.Move{Layer: h.layer, From: head.Version, To: want, Partial: ids[1:]})
}

// persist does something again for as long as the connection is lost.
func persist(t fataler, do func() error) {
	t.Helper()
	for range 100 {
		err := do()
		if err == nil {
			return
		}
		if !wasCut(err) {
			t.Fatal(err)
		}
	}
	t.Fatal("it never comes to an end")
}

// TestVersionsTravel sends random histories to a server and from there to
// another device, over connections that are lost all the time.
func TestVersionsTravel(t *testing.T) {
	dir := memoryDir(t)
	rapid.Check(t, func(t *rapid.T) {
		a := newHome(t, dir, nil)
		defer a.Close()
		server := newHome(t, dir, a)
		defer server.Close()
		b := newHome(t, dir, a)
		defer b.Close()
		p := newPeer(server, drawSeed(t))
		p.cuts = rapid.SampledFrom([]float64{0, 0.1, 0.3}).Draw(t, "cuts")
		p.page = rapid.IntRange(0, 3).Draw(t, "page")
		tree := layerstest.RandomTree(40).Draw(t, "tree")
		for range rapid.IntRange(1, 2).Draw(t, "rounds") {
			from := a.head(t)
			for range rapid.IntRange(1, 2).Draw(t, "versions") {
				a.commit(t, tree)
				tree = layerstest.Edit(tree).Draw(t, "edited")
			}
			to := a.head(t)
			persist(t, func() error { return Push(context.Background(), a.Store, p, a.layer, from, to, Options{}) })
			p.uploads = idSet{}
			persist(t, func() error { return pull(b, p, to, nil, Options{}) })
			if want, got := a.tree(t, to), b.tree(t, to); !reflect.DeepEqual(got, want) {
				t.Fatalf("got the tree %v, want %v", got, want)
			}
		}
		server.clean(t)
		b.clean(t)
	})
}

// TestSmallEditMovesLittle edits one of 4,000 files.
func TestSmallEditMovesLittle(t *testing.T) {
	dir := memoryDir(t)
	a := newHome(t, dir, nil)
	p := newPeer(newHome(t, dir, a), 1)
	b := newHome(t, dir, a)
	tree := manyFiles(4000, 0)
	first := a.commit(t, tree)
	push := func(from, to store.ID) {
		t.Helper()
		size, err := Unsent(t.Context(), a.Store, from, to)
		if err != nil {
			t.Fatal(err)
		}
		if err := Push(t.Context(), a.Store, p, a.layer, from, to, Options{}); err != nil {
			t.Fatal(err)
		}
		if size != p.up {
			t.Errorf("%+v were unsent, %+v were sent", size, p.up)
		}
	}
	push(store.ID{}, first)
	if err := pull(b, p, first, nil, Options{}); err != nil {
		t.Fatal(err)
	}
	if p.up.Chunks < 4000 || p.down != p.up {
		t.Errorf("sent %+v, fetched %+v", p.up, p.down)
	}

	tree[2000].Extents = []layers.Extent{{ID: store.ID{9}, Len: 1000}}
	second := a.commit(t, tree)
	p.forget()
	push(first, second)
	w := b.writer(t)
	defer w.Close()
	if err := pull(b, p, second, nil, Options{}); err != nil {
		t.Fatal(err)
	}
	t.Logf("sent %+v, fetched %+v, %d bytes on the wire, %v", p.up, p.down, p.stored, p.requests)
	// a file, nodes of two or three levels, and the record
	if p.up.Chunks > 6 || p.down != p.up || p.stored > 4_000 {
		t.Errorf("sent %+v, fetched %+v, %d bytes on the wire", p.up, p.down, p.stored)
	}
	want := map[string]int{"upload": 2, "push": 1, "history": 1, "deltas": int(p.up.Chunks) - 1}
	if !reflect.DeepEqual(p.requests, want) {
		t.Errorf("requests %v, want %v: deltas of nodes level by level, and of the file", p.requests, want)
	}
	if !reflect.DeepEqual(b.tree(t, second), a.tree(t, second)) {
		t.Error("the trees differ")
	}
}

// TestLargeFileMovesLittle changes one chunk of a file that has its extents in
// lists of lists.
func TestLargeFileMovesLittle(t *testing.T) {
	dir := memoryDir(t)
	a := newHome(t, dir, nil)
	p := newPeer(newHome(t, dir, a), 1)
	file := layers.Entry{Path: "disk", Type: layers.Regular}
	for i := range 20_000 {
		file.Extents = append(file.Extents, layers.Extent{ID: store.ID{0: 2, 1: byte(i), 2: byte(i >> 8)}, Len: 20})
	}
	first := a.commit(t, layers.Tree{file})
	if err := Push(t.Context(), a.Store, p, a.layer, store.ID{}, first, Options{}); err != nil {
		t.Fatal(err)
	}
	file.Extents[12_345].ID = store.ID{3}
	second := a.commit(t, layers.Tree{file})
	p.forget()
	if err := Push(t.Context(), a.Store, p, a.layer, first, second, Options{}); err != nil {
		t.Fatal(err)
	}
	// a chunk, lists of two levels, the node, the record
	if p.up.Chunks > 8 || p.offered > 0 {
		t.Errorf("sent %+v, offered %d", p.up, p.offered)
	}
}

// TestResume checks that what arrived before a cut is not moved again, by the
// next call neither.
func TestResume(t *testing.T) {
	dir := memoryDir(t)
	server := newHome(t, dir, nil)
	p := newPeer(server, 1)
	version := server.commit(t, manyFiles(3000, 0))
	all := must(Unsent(t.Context(), server.Store, store.ID{}, version))(t)
	b := newHome(t, dir, server)
	for runs := 0; ; runs++ {
		if runs > 200 {
			t.Fatal("no end")
		}
		p.budget = 20
		before := p.requests["fetch"]
		w := b.writer(t)
		_, err := History(t.Context(), b.Store, w, p, b.layer, version, nil, Options{})
		if err == nil {
			err = Contents(t.Context(), b.Store, w, p, b.layer, version, nil, Options{Streams: 1})
		}
		if closing := w.Close(); closing != nil {
			t.Fatal(closing)
		}
		if err == nil {
			break
		}
		if !wasCut(err) {
			t.Fatal(err)
		}
		if tries := p.requests["fetch"] - before; tries < idleTries || tries > idleTries+3 {
			t.Errorf("it gave up after %d tries, want %d that bring nothing", tries, idleTries)
		}
	}
	if p.down != all {
		t.Errorf("fetched %+v in all, want each chunk once: %+v", p.down, all)
	}
	if !reflect.DeepEqual(b.tree(t, version), server.tree(t, version)) {
		t.Error("the trees differ")
	}
}

// TestCancelKeepsWhatArrived ends a fetch halfway.
func TestCancelKeepsWhatArrived(t *testing.T) {
	dir := memoryDir(t)
	server := newHome(t, dir, nil)
	version := server.commit(t, manyFiles(2000, 0))
	b := newHome(t, dir, server)
	ctx, cancel := context.WithCancel(t.Context())
	p := newPeer(server, 1)
	w := b.writer(t)
	must(History(ctx, b.Store, w, p, b.layer, version, nil, Options{}))(t)
	c := canceller{peer: p, cancel: cancel}
	if err := Contents(ctx, b.Store, w, &c, b.layer, version, nil, Options{Streams: 1}); !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if stats := must(b.Stats(t.Context()))(t); stats.Chunks != c.taken+1 || c.taken < 90 || c.taken > 1000 {
		t.Errorf("%d chunks were taken, %d and the record are kept", c.taken, stats.Chunks)
	}
}

// canceller is a peer that has the device give up when 100 chunks have arrived.
type canceller struct {
	*peer
	cancel func()
	taken  int64
}

func (c *canceller) Fetch(ctx context.Context, layer store.LayerID, ids []store.ID, frame func([]byte) error) error {
	return c.peer.Fetch(ctx, layer, ids, func(b []byte) error {
		if c.down.Chunks > 100 {
			c.cancel()
		}
		chunks, err := pack.DecodeFrame(b, nil)
		if err == nil {
			err = frame(b)
		}
		if err == nil {
			c.taken += int64(len(chunks.Lens))
		}
		return err
	})
}

// TestHeldIsSkipped checks that a version is compared with others, of other
// layers too, and that Measure tells what is left.
func TestHeldIsSkipped(t *testing.T) {
	dir := memoryDir(t)
	server := newHome(t, dir, nil)
	tree := manyFiles(3000, 0)
	first := server.commit(t, tree)
	p := newPeer(server, 1)
	b := newHome(t, dir, server)
	if err := pull(b, p, first, nil, Options{}); err != nil {
		t.Fatal(err)
	}
	server.layer = must(server.Heads().Create(t.Context(), "other"))(t).Layer
	b.layer = must(b.Heads().Add(t.Context(), server.layer, "other"))(t).Layer
	tree[77].Extents = []layers.Extent{{ID: store.ID{9}, Len: 1000}, {ID: store.ID{9}, Len: 1000}, {Len: 5000}}
	second := server.commit(t, tree)
	p.forget()
	w := b.writer(t)
	must(History(t.Context(), b.Store, w, p, b.layer, second, nil, Options{}))(t)
	size := must(Measure(t.Context(), b.Store, w, p, b.layer, second, []store.ID{first}, Options{}))(t)
	if size != (Size{1, 1001}) {
		t.Errorf("measured %+v, want one chunk of 1001 bytes", size)
	}
	w.Close()
	before := p.down
	var last Progress
	reads := b.Reads().Chunks
	err := pull(b, p, second, []store.ID{first}, Options{Progress: func(got Progress) {
		if got.Chunks < last.Chunks || got.Bytes < last.Bytes || got.Done < last.Done || got.Total < last.Total {
			t.Errorf("progress went from %+v to %+v", last, got)
		}
		last = got
	}})
	if err != nil {
		t.Fatal(err)
	}
	total := must(manifest.ReadVersion(t.Context(), b, second))(t).Tree.Bytes
	if p.down.Chunks != before.Chunks+1 || last != (Progress{Chunks: 1, Bytes: 1001, Done: total, Total: total}) {
		t.Errorf("measuring fetched %+v, then %+v; progress %+v of %d", before, p.down, last, total)
	}
	if reads = b.Reads().Chunks - reads; reads > 30 {
		t.Errorf("%d chunks were read to compare with a version that shares nearly all", reads)
	}
}

// frameOf packs chunks.
func frameOf(chunks ...[]byte) []byte {
	var data []byte
	var lens []int
	for _, c := range chunks {
		data, lens = append(data, c...), append(lens, len(c))
	}
	return pack.AppendFrame(nil, data, lens)
}

// chunkOf returns a chunk of a store.
func (h *home) chunkOf(t fataler, id store.ID) []byte {
	t.Helper()
	return must(h.Get(context.Background(), id))(t)
}

// TestForged lets a server send what nobody asked for.
func TestForged(t *testing.T) {
	dir := memoryDir(t)
	server := newHome(t, dir, nil)
	version := server.commit(t, manyFiles(300, 0))
	v := must(manifest.ReadVersion(t.Context(), server, version))(t)
	foreign := []byte("a chunk that nobody asked for")
	damaged := frameOf(foreign)
	damaged[len(damaged)-1] ^= 1
	records := layerstest.NewStore()
	record := func(v layers.Version) []byte {
		return must(records.Get(t.Context(), must(manifest.WriteVersion(t.Context(), records, v))(t)))(t)
	}
	other := v
	other.Layer[0] ^= 1
	for name, c := range map[string]struct {
		frame   []byte
		history bool
	}{
		"a foreign chunk":             {frame: frameOf(foreign)},
		"a damaged frame":             {frame: damaged},
		"no frame":                    {frame: []byte("nonsense")},
		"an empty frame":              {frame: nil},
		"the record":                  {frame: frameOf(server.chunkOf(t, version))},
		"contents as history":         {frame: frameOf(foreign), history: true},
		"a node as history":           {frame: frameOf(server.chunkOf(t, v.Tree.ID)), history: true},
		"a damaged frame of history":  {frame: damaged, history: true},
		"a version of another layer":  {frame: frameOf(record(other)), history: true},
		"a version of no descendants": {frame: frameOf(record(layers.Version{Layer: server.layer, Kind: layers.Data, Time: v.Time})), history: true},
	} {
		t.Run(name, func(t *testing.T) {
			b := newHome(t, dir, server)
			w := b.writer(t)
			defer w.Close()
			p := newPeer(server, 1)
			forger := forger{p, c.frame, c.history}
			_, err := History(t.Context(), b.Store, w, forger, b.layer, version, nil, Options{})
			if err == nil && !c.history {
				err = Contents(t.Context(), b.Store, w, forger, b.layer, version, nil, Options{})
			}
			if !errors.Is(err, syncer.ErrForged) {
				t.Errorf("error %v, want ErrForged", err)
			}
			if n := p.requests["fetch"] + p.requests["history"]; n > 2 {
				t.Errorf("%v: a forgery was asked for again", p.requests)
			}
		})
	}
}

// forger is a peer that sends a frame of its own first.
type forger struct {
	*peer
	frame   []byte
	history bool // as history, or else as contents
}

func (f forger) History(ctx context.Context, layer store.LayerID, want store.ID, have []store.ID, frame func([]byte) error) error {
	if f.history {
		if err := frame(f.frame); err != nil {
			return err
		}
	}
	return f.peer.History(ctx, layer, want, have, frame)
}

func (f forger) Fetch(ctx context.Context, layer store.LayerID, ids []store.ID, frame func([]byte) error) error {
	if err := frame(f.frame); err != nil {
		return err
	}
	return f.peer.Fetch(ctx, layer, ids, frame)
}

// TestMalformedManifest fetches versions whose nodes are not what they should be.
func TestMalformedManifest(t *testing.T) {
	dir := memoryDir(t)
	for name, root := range map[string]func(tree layers.Root, other store.ID) layers.Root{
		"contents as a node":    func(r layers.Root, other store.ID) layers.Root { r.ID = other; return r },
		"entries counted wrong": func(r layers.Root, _ store.ID) layers.Root { r.Entries++; return r },
	} {
		server := newHome(t, dir, nil)
		w := server.writer(t)
		other := must(w.Put(t.Context(), []byte("no node")))(t)[0]
		tree := must(manifest.WriteTree(t.Context(), w, server.fill(t, w, manyFiles(300, 0))))(t)
		v := layers.Version{Layer: server.layer, Kind: layers.Data, Tree: root(tree, other)}
		version := must(manifest.WriteVersion(t.Context(), w, v))(t)
		if err := w.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		b := newHome(t, dir, server)
		r := anything{newPeer(server, 1)}
		got := b.writer(t)
		must(History(t.Context(), b.Store, got, r, b.layer, version, nil, Options{}))(t)
		if err := Contents(t.Context(), b.Store, got, r, b.layer, version, nil, Options{}); !errors.Is(err, syncer.ErrManifest) {
			t.Errorf("%s: error %v, want ErrManifest", name, err)
		}
		got.Close()
		w.Close()
	}
}

// anything is a peer that hands out all that it has.
type anything struct{ *peer }

func (a anything) Fetch(ctx context.Context, _ store.LayerID, ids []store.ID, frame func([]byte) error) error {
	return a.Frames(ctx, ids, frame)
}

// TestServerThatAnswersOddly checks what a device does with a server that
// leaves out chunks, or sends them twice.
func TestServerThatAnswersOddly(t *testing.T) {
	dir := memoryDir(t)
	server := newHome(t, dir, nil)
	version := server.commit(t, manyFiles(300, 0))
	for name, c := range map[string]struct {
		odd  func(p *peer) syncer.Remote
		want error
	}{
		"nothing":        {func(p *peer) syncer.Remote { return silent{p} }, syncer.ErrUnavailable},
		"the same twice": {func(p *peer) syncer.Remote { return twice{p} }, syncer.ErrForged},
	} {
		b := newHome(t, dir, server)
		w := b.writer(t)
		p := newPeer(server, 1)
		must(History(t.Context(), b.Store, w, p, b.layer, version, nil, Options{}))(t)
		if err := Contents(t.Context(), b.Store, w, c.odd(p), b.layer, version, nil, Options{}); !errors.Is(err, c.want) {
			t.Errorf("%s: error %v, want %v", name, err, c.want)
		}
		w.Close()
	}
}

type silent struct{ *peer }

func (silent) Fetch(context.Context, store.LayerID, []store.ID, func([]byte) error) error { return nil }

type twice struct{ *peer }

func (p twice) Fetch(ctx context.Context, layer store.LayerID, ids []store.ID, frame func([]byte) error) error {
	return errors.Join(p.peer.Fetch(ctx, layer, ids, frame), p.peer.Fetch(ctx, layer, ids, frame))
}

// greedy is a server that asks for chunks when it is to move the head.
type greedy struct {
	*peer
	ask    []store.ID
	always bool
	asked  *int
}

func (g greedy) Push(ctx context.Context, layer store.LayerID, from, to store.ID) error {
	if *g.asked++; *g.asked == 1 || g.always {
		return &syncer.MissingError{IDs: g.ask}
	}
	return g.peer.Push(ctx, layer, from, to)
}

// TestMissing lets a server ask for chunks: it gets those of the version, and no
// others.
func TestMissing(t *testing.T) {
	dir := memoryDir(t)
	a := newHome(t, dir, nil)
	w := a.writer(t)
	defer w.Close()
	secret := must(w.Put(t.Context(), []byte("of another layer")))(t)[0]
	if err := w.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	tree := manyFiles(300, 0)
	first := a.commit(t, tree)
	second := a.commit(t, append(tree, layers.Entry{Path: "z", Type: layers.Regular}))
	v := must(manifest.ReadVersion(t.Context(), a, second))(t)
	file := a.tree(t, second)[200].Extents[0].ID
	for name, c := range map[string]struct {
		ask    []store.ID
		always bool
		want   error
		sent   int64
	}{
		"of the version":         {[]store.ID{file, v.Tree.ID, second}, false, nil, 3},
		"the same all the time":  {[]store.ID{file}, true, &syncer.MissingError{}, rounds},
		"of another layer":       {[]store.ID{file, secret}, false, syncer.ErrForbidden, 0},
		"what is nowhere":        {[]store.ID{{1}}, false, syncer.ErrForbidden, 0},
		"of an older version":    {[]store.ID{first}, false, syncer.ErrForbidden, 0},
		"nothing, and yet fails": {nil, true, &syncer.MissingError{}, 0},
	} {
		p := newPeer(newHome(t, dir, a), 1)
		if err := Push(t.Context(), a.Store, p, a.layer, store.ID{}, first, Options{}); err != nil {
			t.Fatal(err)
		}
		due := must(Unsent(t.Context(), a.Store, first, second))(t).Chunks
		p.forget()
		err := Push(t.Context(), a.Store, greedy{p, c.ask, c.always, new(int)}, a.layer, first, second, Options{})
		missing := (*syncer.MissingError)(nil)
		if c.want == nil && err != nil || c.want != nil && !errors.Is(err, c.want) && !errors.As(err, &missing) {
			t.Errorf("%s: error %v, want %v", name, err, c.want)
		}
		if p.up.Chunks != due+c.sent {
			t.Errorf("%s: %d chunks were sent, want %d", name, p.up.Chunks, due+c.sent)
		}
	}
}

// TestPushRefused checks what a push returns as it is, and does not try again.
func TestPushRefused(t *testing.T) {
	dir := memoryDir(t)
	a := newHome(t, dir, nil)
	first := a.commit(t, manyFiles(10, 0))
	second := a.commit(t, manyFiles(11, 0))
	server := newHome(t, dir, a)
	p := newPeer(server, 1)
	if err := Push(t.Context(), a.Store, p, a.layer, first, second, Options{}); !errors.Is(err, store.ErrMoved) {
		t.Errorf("error %v, want ErrMoved", err)
	}
	if p.requests["push"] != 1 {
		t.Errorf("requests %v", p.requests)
	}
	if err := Push(t.Context(), a.Store, p, a.layer, store.ID{}, second, Options{}); err != nil {
		t.Fatal(err)
	}
	if err := Push(t.Context(), a.Store, p, a.layer, second, second, Options{}); err != nil {
		t.Errorf("what is there already: %v", err)
	}
	if err := Push(t.Context(), a.Store, p, a.layer, second, store.ID{1}, Options{}); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("a version that is not there: %v", err)
	}
	b := newHome(t, dir, a)
	if err := pull(b, p, second, nil, Options{}); err != nil {
		t.Fatal(err)
	}
	if _, err := Unsent(t.Context(), b.Store, store.ID{}, second); !errors.Is(err, repo.ErrPartial) {
		t.Errorf("a partial version: %v", err)
	}
	if size, err := Unsent(t.Context(), b.Store, second, second); err != nil || size != (Size{}) {
		t.Errorf("nothing: %+v, %v", size, err)
	}
}

// TestResumedHistory checks that versions whose records an earlier run left are
// returned all the same: their trees are not there.
func TestResumedHistory(t *testing.T) {
	dir := memoryDir(t)
	server := newHome(t, dir, nil)
	var want []store.ID
	for i := range 5 {
		want = append(want, server.commit(t, manyFiles(i, 0)))
	}
	slices.Reverse(want)
	b := newHome(t, dir, server)
	p := newPeer(server, 1)
	for range 2 {
		w := b.writer(t)
		got, err := History(t.Context(), b.Store, w, p, b.layer, want[0], nil, Options{})
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("history %v, %v; want %v", got, err, want)
		}
		if err := errors.Join(w.Flush(t.Context()), w.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if p.requests["history"] != 1 {
		t.Errorf("requests %v, want one", p.requests)
	}
}

// TestBeyond compares with a model, on random histories.
func TestBeyond(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rand.New(rand.NewPCG(drawSeed(t), 2))
		for range 50 {
			compareBeyond(t, r)
		}
	})
}

func compareBeyond(t *rapid.T, r *rand.Rand) {
	n, wrong := 1+r.IntN(40), r.IntN(2) == 0
	notes := map[store.ID]note{}
	id := func(i int) store.ID { return store.ID{byte(i + 1)} }
	histories := make([]idSet, n)
	for i := range n {
		at := i
		if wrong {
			at = r.IntN(n)
		}
		x := note{time: layers.Time{Sec: int64(at)}.Time()}
		histories[i] = idSet{id(i): {}}
		for range min(i, r.IntN(3)) {
			p := r.IntN(i)
			x.parents = append(x.parents, id(p))
			for a := range histories[p] {
				histories[i].add(a)
			}
		}
		notes[id(i)] = x
	}
	read := func(_ context.Context, id store.ID) (note, bool, error) {
		x, ok := notes[id]
		return x, ok, nil
	}
	tip, have := r.IntN(n), []int{r.IntN(n), r.IntN(n)}[:r.IntN(3)]
	want := idSet{}
	var haves []store.ID
	for a := range histories[tip] {
		want.add(a)
	}
	for _, h := range have {
		haves = append(haves, id(h))
		for a := range histories[h] {
			delete(want, a)
		}
	}
	got, missing, err := beyond(t.Context(), read, id(tip), haves)
	if err != nil || len(missing) > 0 {
		t.Fatal(missing, err)
	}
	if wrong {
		if got, err = without(t.Context(), read, got, haves); err != nil {
			t.Fatal(err)
		}
	}
	if len(got) != len(want) || slices.ContainsFunc(got, func(id store.ID) bool { return !want.has(id) }) {
		t.Fatalf("beyond %v: %v, want %v", have, got, want)
	}
	for i, v := range got {
		for _, p := range notes[v].parents {
			if j := slices.Index(got, p); j > i {
				t.Fatalf("%v comes before its parent %v", v, p)
			}
		}
	}
}
