package exchange

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"satchel/layers"
	"satchel/layers/manifest"
	"satchel/layers/repo"
	"satchel/store"
	"satchel/store/disk"
	"satchel/store/pack"
	"satchel/syncer"
	"satchel/syncer/deltas"
)

// TestMain has properties checked less often than usual, unless told how often:
// a check makes three stores.
func TestMain(m *testing.M) {
	if err := flag.Set("rapid.checks", "25"); err != nil {
		panic(err)
	}
	firstWait, longestWait = time.Microsecond, time.Millisecond
	goleak.VerifyTestMain(m)
}

// fataler is a *testing.T, or a *rapid.T.
type fataler interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// must returns a function that fails the test on an error, or else returns v.
func must[T any](v T, err error) func(fataler) T {
	return func(t fataler) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// memoryDir returns a directory in memory where there is one.
func memoryDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "satchel-test-") //nolint:usetesting // another file system than the tests'
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// A home is a store with one layer.
type home struct {
	*disk.Store
	layer store.LayerID
}

// newHome makes a store of the same domain as that of like, with the same layer.
func newHome(t fataler, dir string, like *home) *home {
	t.Helper()
	ctx := context.Background()
	dir = filepath.Join(must(os.MkdirTemp(dir, "home-"))(t), "store") //nolint:usetesting // under the test's directory
	if like == nil {
		st := must(disk.Create(dir))(t)
		return &home{st, must(repo.New(st, "test").Create(ctx, "data"))(t).Layer}
	}
	st := must(disk.CreateIn(dir, like.Domain()))(t)
	must(st.Heads().Add(ctx, like.layer, "data"))(t)
	return &home{st, like.layer}
}

func (h *home) head(t fataler) store.ID {
	t.Helper()
	return must(h.Heads().Head(context.Background(), h.layer))(t).Version
}

func (h *home) writer(t fataler) store.Writer {
	t.Helper()
	return must(h.Begin(context.Background(), "test"))(t)
}

// commit makes a version of a tree whose extents name no real chunks: it gives
// them contents. Extents of the same ID get the same.
func (h *home) commit(t fataler, tree layers.Tree, parents ...store.ID) store.ID {
	t.Helper()
	ctx := context.Background()
	w := h.writer(t)
	defer w.Close()
	head := must(h.Heads().Head(ctx, h.layer))(t)
	if parents == nil && !head.Version.IsZero() {
		parents = []store.ID{head.Version}
	}
	ids := must(repo.New(h.Store, "test").Commit(ctx, w, repo.Commit{Head: head, Kind: layers.Data, Tree: h.fill(t, w, tree), Parents: parents}))(t)
	return ids[0]
}

// fill returns the tree with real contents.
func (h *home) fill(t fataler, w store.Writer, tree layers.Tree) layers.Tree {
	t.Helper()
	tree = slices.Clone(tree)
	for i := range tree {
		e := &tree[i]
		e.Extents = slices.Clone(e.Extents)
		if e.Type == layers.Regular {
			e.Size = 0
		}
		for j := range e.Extents {
			x := &e.Extents[j]
			if !x.ID.IsZero() {
				data := content(x.ID, int(x.Len))
				x.ID, x.Len = must(w.Put(context.Background(), data))(t)[0], int64(len(data))
			}
			e.Size += x.Len
		}
	}
	return tree
}

// content makes up a chunk.
func content(id store.ID, size int) []byte {
	r := rand.New(rand.NewChaCha8(id))
	b := make([]byte, 1+size%2000)
	for i := range b {
		b[i] = byte('a' + r.IntN(20))
	}
	return b
}

// tree reads a whole version, and all chunks of its files.
func (h *home) tree(t fataler, version store.ID) layers.Tree {
	t.Helper()
	ctx := context.Background()
	v := must(manifest.ReadVersion(ctx, h, version))(t)
	tree := must(manifest.ReadTree(ctx, h, v.Tree))(t)
	for _, e := range tree {
		for _, x := range e.Extents {
			if !x.ID.IsZero() {
				if b := must(h.Get(ctx, x.ID))(t); int64(len(b)) != x.Len {
					t.Fatalf("%q: chunk of %d bytes, want %d", e.Path, len(b), x.Len)
				}
			}
		}
	}
	return tree
}

// clean collects and scrubs, and checks that nothing is amiss.
func (h *home) clean(t fataler) {
	t.Helper()
	ctx := context.Background()
	walk := repo.New(h.Store, "test").Walker()
	for range 2 {
		must(h.GC(ctx, walk))(t)
	}
	res := must(h.Verify(ctx, walk, nil))(t)
	if err := res.Err(); err != nil {
		t.Fatal(err)
	}
}

// A peer is a server without a network: a store, and what it does to devices.
type peer struct {
	*home

	mu       sync.Mutex
	rand     *rand.Rand
	cuts     float64 // how likely each frame, request and answer is lost
	budget   int     // frames until everything is cut off; negative: no end
	page     int     // versions in an answer; 0: all
	uploads  idSet
	requests map[string]int
	offered  int
	down, up Size // what was delivered
	stored   int64
	deltas   int
}

func newPeer(h *home, seed uint64) *peer {
	return &peer{home: h, rand: rand.New(rand.NewPCG(seed, 1)), budget: -1, uploads: idSet{}, requests: map[string]int{}}
}

func (p *peer) forget() {
	p.requests, p.down, p.up, p.stored, p.offered, p.deltas = map[string]int{}, Size{}, Size{}, 0, 0, 0
}

// lose decides whether the connection is lost now.
func (p *peer) lose(what string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.budget == 0 || p.rand.Float64() < p.cuts {
		if p.rand.IntN(2) == 0 {
			return fmt.Errorf("%s: %w", what, io.ErrUnexpectedEOF)
		}
		return fmt.Errorf("%s: %w", what, syncer.ErrUnavailable)
	}
	return nil
}

func (p *peer) begin(what string) error {
	p.mu.Lock()
	p.requests[what]++
	p.mu.Unlock()
	return p.lose(what)
}

// count counts a frame that is about to be delivered.
func (p *peer) count(s *Size, frame []byte) error {
	if err := p.lose("frame"); err != nil {
		return err
	}
	c, err := pack.DecodeFrame(frame, nil)
	p.mu.Lock()
	defer p.mu.Unlock()
	s.Chunks += int64(len(c.Lens))
	s.Bytes += int64(len(c.Data))
	p.stored += int64(len(frame))
	p.budget--
	return err
}

// send delivers chunks, and more if it was told to.
func (p *peer) send(ctx context.Context, ids []store.ID, frame func([]byte) error) error {
	deliver := func(b []byte) error {
		if err := p.count(&p.down, b); err != nil {
			return err
		}
		b = slices.Clone(b)
		err := frame(b)
		clear(b) // it was valid until then
		return err
	}
	// small frames, so that cuts fall between chunks
	for few := range slices.Chunk(ids, 1+p.intn(20)) {
		if err := p.Frames(ctx, few, deliver); err != nil {
			return err
		}
	}
	return p.lose("end")
}

func (p *peer) intn(n int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rand.IntN(n)
}

// reached returns all that the layer reaches.
func (p *peer) reached(ctx context.Context, root store.ID) (idSet, error) {
	set := idSet{}
	if root.IsZero() {
		return set, nil
	}
	return set, manifest.Walk(p.Store, nil)(ctx, root, set.add)
}

func (p *peer) now(ctx context.Context) (store.ID, error) {
	head, err := p.Heads().Head(ctx, p.layer)
	return head.Version, err
}

func (p *peer) History(ctx context.Context, _ store.LayerID, want store.ID, have []store.ID, frame func([]byte) error) error {
	if err := p.begin("history"); err != nil {
		return err
	}
	ids, missing, err := beyond(ctx, readNote(p.Store), want, have)
	if err != nil || len(missing) > 0 {
		return errors.Join(err, syncer.ErrForbidden)
	}
	slices.Reverse(ids)
	if p.page > 0 {
		ids = ids[:min(len(ids), p.page)]
	}
	return p.send(ctx, ids, frame)
}

func (p *peer) Fetch(ctx context.Context, _ store.LayerID, ids []store.ID, frame func([]byte) error) error {
	if err := p.begin("fetch"); err != nil {
		return err
	}
	head, err := p.now(ctx)
	if err != nil {
		return err
	}
	set, err := p.reached(ctx, head)
	if err != nil {
		return err
	}
	if len(ids) > syncer.MaxIDs || slices.ContainsFunc(ids, func(id store.ID) bool { return !set.has(id) }) {
		return fmt.Errorf("fetch of %d chunks: %w", len(ids), syncer.ErrForbidden)
	}
	return p.send(ctx, ids, frame)
}

// Deltas leaves some pairs out.
func (p *peer) Deltas(ctx context.Context, _ store.LayerID, pairs []syncer.Pair, delta func(int, syncer.Delta) error, sketch func(int, syncer.Sketch) error) error {
	if err := p.begin("deltas"); err != nil {
		return err
	}
	head, err := p.now(ctx)
	if err != nil {
		return err
	}
	set, err := p.reached(ctx, head)
	if err != nil {
		return err
	}
	codec := deltas.New(p.Store, p.Domain())
	for i := range pairs {
		q := &pairs[i]
		if slices.ContainsFunc(q.Target, func(id store.ID) bool { return !set.has(id) }) {
			return syncer.ErrForbidden
		}
		if slices.ContainsFunc(q.Sources(), func(id store.ID) bool { return !set.has(id) }) || p.cuts > 0 && p.intn(8) == 0 {
			continue
		}
		if q.Sketch {
			s, err := codec.Sketch(ctx, q)
			if err != nil {
				return err
			}
			if len(s) >= syncer.LeastMarks {
				if err := sketch(i, s); err != nil {
					return err
				}
				continue
			}
		}
		d, err := codec.Make(ctx, q)
		if err == nil {
			err = p.countDelta(&p.down, d)
		}
		if err != nil {
			return err
		}
		if err := delta(i, d); err != nil {
			return err
		}
		clear(d.Data) // it was valid until then
	}
	return p.lose("end")
}

// countDelta counts a delta that is about to be delivered.
func (p *peer) countDelta(s *Size, d syncer.Delta) error {
	if err := p.lose("delta"); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s.Chunks += int64(len(d.Lens))
	s.Bytes += int64(d.Size())
	p.stored += int64(len(d.Data))
	p.deltas++
	p.budget--
	return nil
}

// UploadDeltas keeps what came before a cut, or does not.
func (p *peer) UploadDeltas(ctx context.Context, _ store.LayerID, send func(emit func(syncer.Pair, syncer.Delta) error) error) error {
	if err := p.begin("upload"); err != nil {
		return err
	}
	head, err := p.now(ctx)
	if err != nil {
		return err
	}
	set, err := p.reached(ctx, head)
	if err != nil {
		return err
	}
	codec := deltas.New(p.Store, p.Domain())
	return p.upload(ctx, func(w store.Writer, keep func([]store.ID)) error {
		return send(func(q syncer.Pair, d syncer.Delta) error {
			if err := p.countDelta(&p.up, d); err != nil {
				return err
			}
			if slices.ContainsFunc(q.Sources(), func(id store.ID) bool { return !set.has(id) }) {
				return store.ErrNotExist
			}
			return codec.Apply(ctx, &q, d, func(chunks [][]byte) error {
				ids, err := w.Put(ctx, chunks...)
				keep(ids)
				return err
			})
		})
	})
}

func (p *peer) Offer(ctx context.Context, _ store.LayerID, ids []store.ID) ([]bool, error) {
	if err := p.begin("offer"); err != nil {
		return nil, err
	}
	head, err := p.now(ctx)
	if err != nil {
		return nil, err
	}
	set, err := p.reached(ctx, head)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.offered += len(ids)
	want := make([]bool, len(ids))
	for i, id := range ids {
		want[i] = !set.has(id) && !p.uploads.has(id)
	}
	return want, nil
}

// Upload keeps what came before a cut, or does not.
func (p *peer) Upload(ctx context.Context, _ store.LayerID, send func(emit func([]byte) error) error) error {
	if err := p.begin("upload"); err != nil {
		return err
	}
	return p.upload(ctx, func(w store.Writer, keep func([]store.ID)) error {
		return send(func(b []byte) error {
			if err := p.count(&p.up, b); err != nil {
				return err
			}
			ids, err := w.PutFrame(ctx, b)
			keep(ids)
			return err
		})
	})
}

func (p *peer) upload(ctx context.Context, receive func(w store.Writer, keep func([]store.ID)) error) error {
	w, err := p.Begin(ctx, "upload")
	if err != nil {
		return err
	}
	defer w.Close()
	var ids []store.ID
	lost := receive(w, func(more []store.ID) { ids = append(ids, more...) })
	if lost != nil && p.intn(2) == 0 {
		return lost
	}
	if err := w.Flush(ctx); err != nil {
		return err
	}
	p.mu.Lock()
	for _, id := range ids {
		p.uploads.add(id)
	}
	p.mu.Unlock()
	return errors.Join(lost, p.lose("answer"))
}

func (p *peer) Push(ctx context.Context, layer store.LayerID, from, to store.ID) error {
	if err := p.begin("push"); err != nil {
		return err
	}
	head, err := p.now(ctx)
	switch {
	case err != nil:
		return err
	case head == to:
		return nil
	case head != from:
		return store.ErrMoved
	}
	need := idSet{}
	if err := manifest.Walk(p.Store, nil)(ctx, to, need.add); err != nil && !errors.Is(err, store.ErrNotExist) {
		return err
	}
	old, err := p.reached(ctx, from)
	if err != nil {
		return err
	}
	missing := &syncer.MissingError{}
	for id := range need {
		if !old.has(id) && !p.uploads.has(id) && len(missing.IDs) < 10 {
			missing.IDs = append(missing.IDs, id)
		}
	}
	if len(missing.IDs) > 0 {
		return missing
	}
	if err := p.Heads().CompareAndSwap(ctx, store.Move{Layer: layer, From: from, To: to}); err != nil {
		return err
	}
	return p.lose("answer")
}

// drawSeed draws what a peer's faults follow from.
func drawSeed(t *rapid.T) uint64 { return rapid.Uint64().Draw(t, "seed") }
