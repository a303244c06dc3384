package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"satchel/store"
)

// A toy layer model: a version is a chunk that lists its parent and the chunks
// of its content by their IDs.
var toyMagic = []byte("toy version\n")

func toyVersion(ids ...store.ID) []byte {
	b := bytes.Clone(toyMagic)
	for _, id := range ids {
		b = append(b, id[:]...)
	}
	return b
}

// toyWalk is the walker of the toy model.
func toyWalk(s *Store) store.Walker {
	var walk store.Walker
	walk = func(ctx context.Context, root store.ID, visit func(store.ID) bool) error {
		if !visit(root) {
			return nil
		}
		b, err := s.Get(ctx, root)
		if err != nil {
			return err
		}
		rest, ok := bytes.CutPrefix(b, toyMagic)
		if !ok {
			return nil
		}
		for len(rest) >= len(store.ID{}) {
			id := store.ID(rest)
			rest = rest[len(id):]
			if err := walk(ctx, id, visit); err != nil {
				return err
			}
		}
		return nil
	}
	return walk
}

// commitToy puts a version of the content on top of a head and moves the head.
func commitToy(ctx context.Context, s *Store, h store.Head, w store.Writer, content ...[]byte) (store.Head, error) {
	ids, err := w.Put(ctx, content...)
	if err != nil {
		return h, err
	}
	return moveToy(ctx, s, h, w, ids)
}

// receiveToy does the same as one does who is sent frames: it asks what is
// there, and puts the rest.
func receiveToy(ctx context.Context, s *Store, h store.Head, w store.Writer, content ...[]byte) (store.Head, error) {
	ids := make([]store.ID, len(content))
	for i, b := range content {
		ids[i] = s.Domain().ID(b)
	}
	has, err := w.Has(ctx, ids)
	if err != nil {
		return h, err
	}
	lacks := &gathering{}
	for i, b := range content {
		if !has[i] {
			lacks.add(ids[i], b)
		}
	}
	if len(lacks.chunks) > 0 {
		if _, err := w.PutFrame(ctx, lacks.encode(nil)); err != nil {
			return h, err
		}
	}
	return moveToy(ctx, s, h, w, ids)
}

// moveToy moves a head to a version of chunks that the writer has put.
func moveToy(ctx context.Context, s *Store, h store.Head, w store.Writer, ids []store.ID) (store.Head, error) {
	if !h.Version.IsZero() {
		ids = append(ids, h.Version)
	}
	version, err := w.Put(ctx, toyVersion(ids...))
	if err != nil {
		return h, err
	}
	if err := w.Flush(ctx); err != nil {
		return h, err
	}
	err = s.Heads().CompareAndSwap(ctx, store.Move{Layer: h.Layer, From: h.Version, To: version[0]})
	if err == nil {
		h.Version = version[0]
	}
	return h, err
}

// newToyLayer makes a layer with one version of the content.
func newToyLayer(t testing.TB, s *Store, name string, content ...[]byte) store.Head {
	t.Helper()
	ctx := context.Background()
	h, err := s.Heads().Create(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.Begin(ctx, "test")
	if err != nil {
		t.Fatal(err)
	}
	h, err = commitToy(ctx, s, h, w, content...)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return h
}

func collect(t testing.TB, s *Store) GCResult {
	t.Helper()
	res, err := s.GC(context.Background(), toyWalk(s))
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// wantWhole checks that a scrub finds nothing wrong.
func wantWhole(t testing.TB, s *Store) VerifyResult {
	t.Helper()
	res, err := s.Verify(context.Background(), toyWalk(s), nil)
	if err != nil {
		t.Fatal(err)
	}
	if !res.OK() {
		t.Fatalf("scrub: %v\n%+v", res.Err(), res)
	}
	return res
}

// wantHas checks which chunks are present.
func wantHas(t testing.TB, s *Store, want bool, ids ...store.ID) {
	t.Helper()
	has, err := s.Has(context.Background(), ids)
	if err != nil {
		t.Fatal(err)
	}
	for i, h := range has {
		if h != want {
			t.Errorf("chunk %d: present %v, want %v", i, h, want)
		}
	}
}

func seeded(n uint64) *rand.Rand { return rand.New(rand.NewPCG(n, n)) }

func TestGCKeepsReachedRemovesRest(t *testing.T) {
	s := newTestStore(t)
	r := seeded(2)
	keep, waste := randomChunks(r, 50, 64<<10), randomChunks(r, 50, 64<<10)
	wasted := put(t, s, waste...)
	newToyLayer(t, s, "a", keep...)
	kept := put(t, s, keep...)

	res := collect(t, s)
	if res.SweptChunks != int64(len(waste)) || res.Condemned != 0 {
		t.Errorf("gc swept %d chunks and left %d condemned: want %d and 0", res.SweptChunks, res.Condemned, len(waste))
	}
	wantHas(t, s, true, kept...)
	wantHas(t, s, false, wasted...)
	if _, err := s.Get(context.Background(), wasted[0]); !errors.Is(err, store.ErrNotExist) {
		// A fresh store has no frame of it in memory.
		again, _ := Open(s.Dir())
		if _, err := again.Get(context.Background(), wasted[0]); !errors.Is(err, store.ErrNotExist) {
			t.Errorf("get a swept chunk: %v, want %v", err, store.ErrNotExist)
		}
	}
	wantWhole(t, s)
	wantChunks(t, s, kept, keep)
}

func TestGCRepacks(t *testing.T) {
	s := newTestStore(t)
	r := seeded(3)
	all := randomChunks(r, 200, 64<<10)
	put(t, s, all...) // one pack
	newToyLayer(t, s, "a", all[:20]...)
	before, err := s.Stats(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	res := collect(t, s)
	if res.Repacked != 1 || res.Removed != 1 {
		t.Errorf("gc repacked %d and removed %d packs: want 1 and 1", res.Repacked, res.Removed)
	}
	after, err := s.Stats(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if after.StoredBytes >= before.StoredBytes/2 || before.StoredBytes-after.StoredBytes != res.FreedBytes {
		t.Errorf("%d bytes before, %d after, said to have freed %d", before.StoredBytes, after.StoredBytes, res.FreedBytes)
	}
	wantWhole(t, s)
	fresh, err := Open(s.Dir())
	if err != nil {
		t.Fatal(err)
	}
	wantChunks(t, fresh, put(t, s, all[:20]...), all[:20])
}

func TestGetFollowsRepackedChunk(t *testing.T) {
	s := newTestStore(t)
	all := randomChunks(seeded(4), 100, 32<<10)
	ids := put(t, s, all...)
	newToyLayer(t, s, "a", all[:10]...)
	reader, err := Open(s.Dir())
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range ids { // learn where they are
		if _, err := reader.reader.locate(context.Background(), id); err != nil {
			t.Fatal(err)
		}
	}
	collect(t, s)
	wantChunks(t, reader, ids[:10], all[:10])
}

func TestGCJoinsManySmallPacks(t *testing.T) {
	s := newTestStore(t)
	var content [][]byte
	h := newToyLayer(t, s, "a", []byte("first"))
	w, err := s.Begin(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	for i := range tooMany {
		content = append(content, fmt.Appendf(nil, "content %d", i))
		if h, err = commitToy(t.Context(), s, h, w, content[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	collect(t, s)
	stats, err := s.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if stats.Packs != 1 {
		t.Errorf("%d packs are left of %d small ones: want 1", stats.Packs, tooMany+1)
	}
	wantWhole(t, s)
}

func TestGCSparesUnfinishedWriter(t *testing.T) {
	s := newTestStore(t)
	ctx := t.Context()
	chunks := randomChunks(seeded(5), 20, 64<<10)
	put(t, s, chunks[:10]...) // present, but unreached
	h, err := s.Heads().Create(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.Begin(ctx, "import")
	if err != nil {
		t.Fatal(err)
	}
	ids, err := w.Put(ctx, chunks...)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if res := collect(t, s); res.SweptChunks != 0 {
			t.Fatalf("gc swept %d chunks of a writer that is not done", res.SweptChunks)
		}
	}
	if _, err := commitToy(ctx, s, h, w, chunks...); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	collect(t, s)
	wantHas(t, s, true, ids...)
	wantWhole(t, s)
}

func TestPutRescuesCondemned(t *testing.T) {
	s := newTestStore(t)
	ctx := t.Context()
	chunks := randomChunks(seeded(6), 10, 64<<10)
	blocker, err := s.Begin(ctx, "keeps gc from sweeping")
	if err != nil {
		t.Fatal(err)
	}
	ids := put(t, s, chunks...)
	if res := collect(t, s); res.Condemned != int64(len(ids)) {
		t.Fatalf("gc left %d chunks condemned: want %d", res.Condemned, len(ids))
	}
	wantHas(t, s, false, ids...)
	wantChunks(t, s, ids, chunks)

	newToyLayer(t, s, "a", chunks[:5]...)
	wantHas(t, s, true, ids[:5]...)
	if err := blocker.Close(); err != nil {
		t.Fatal(err)
	}
	collect(t, s)
	wantHas(t, s, true, ids[:5]...)
	wantHas(t, s, false, ids[5:]...)
	wantWhole(t, s)
}

func TestHoldKeepsWhatItNames(t *testing.T) {
	s := newTestStore(t)
	ctx := t.Context()
	chunks := randomChunks(seeded(7), 10, 64<<10)
	h := newToyLayer(t, s, "a", chunks...)
	ids := put(t, s, chunks...)
	release, err := s.Hold(ctx, "guest", h.Version)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Heads().Remove(ctx, h.Layer, h.Version); err != nil {
		t.Fatal(err)
	}
	collect(t, s)
	wantHas(t, s, true, ids...)
	if err := release(); err != nil {
		t.Fatal(err)
	}
	collect(t, s)
	wantHas(t, s, false, ids...)
}

func TestHoldOfNothing(t *testing.T) {
	s := newTestStore(t)
	if _, err := s.Hold(t.Context(), "guest", store.ID{1}); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("hold of nothing: %v, want %v", err, store.ErrNotExist)
	}
	if stats, err := s.Stats(t.Context()); err != nil || stats.Leases != 0 {
		t.Errorf("%d leases, %v: want none", stats.Leases, err)
	}
}

func TestGCRemovesNothingWhenTheWalkFails(t *testing.T) {
	s := newTestStore(t)
	waste := put(t, s, randomChunks(seeded(8), 10, 1000)...)
	newToyLayer(t, s, "a", []byte("content"))
	broken := errors.New("unreadable")
	_, err := s.GC(t.Context(), func(context.Context, store.ID, func(store.ID) bool) error { return broken })
	if !errors.Is(err, broken) {
		t.Errorf("gc: %v, want %v", err, broken)
	}
	wantHas(t, s, true, waste...)
}

func TestOneGCAtATime(t *testing.T) {
	s := newTestStore(t)
	unlock, err := s.lockGC()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.GC(t.Context(), toyWalk(s)); !errors.Is(err, store.ErrBusy) {
		t.Errorf("second gc: %v, want %v", err, store.ErrBusy)
	}
	if err := s.Rebuild(t.Context()); !errors.Is(err, store.ErrBusy) {
		t.Errorf("rebuild during gc: %v, want %v", err, store.ErrBusy)
	}
	unlock()
	collect(t, s)
}

func TestGCAdoptsPackThatACrashKeptOutOfTheIndex(t *testing.T) {
	s := newTestStore(t)
	ctx := t.Context()
	lease, err := s.heads.Lease(ctx, "crashes", true)
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.newPacking(lease, 0)
	if err != nil {
		t.Fatal(err)
	}
	g := &gathering{}
	g.add(s.Domain().ID([]byte("left over")), []byte("left over"))
	if err := p.append(g.encode(nil), g.chunks); err != nil {
		t.Fatal(err)
	}
	if _, err := p.seal(); err != nil {
		t.Fatal(err)
	}
	if res := collect(t, s); res.Adopted != 0 {
		t.Error("gc adopted the pack of a writer that lives")
	}
	if err := lease.Release(ctx); err != nil {
		t.Fatal(err)
	}
	if res := collect(t, s); res.Adopted != 1 || res.Removed != 1 {
		t.Errorf("gc adopted %d and removed %d packs: want 1 and 1", res.Adopted, res.Removed)
	}
	if _, err := os.Stat(s.packPath(p.name)); !os.IsNotExist(err) {
		t.Errorf("the pack is still there: %v", err)
	}
}

// TestCollectKeepsWhatIsNamed names a version that no head reaches, and one
// that is not there.
func TestCollectKeepsWhatIsNamed(t *testing.T) {
	s := newTestStoreIn(t, memoryDir(t))
	chunks := randomChunks(seeded(58), 3, 2000)
	ids := put(t, s, chunks...)
	version := put(t, s, toyVersion(ids[0], ids[1]))[0]
	refused := errors.New("cannot tell")
	for _, c := range []struct {
		kept []store.ID
		err  error
		left int // of the chunks
	}{{nil, refused, 3}, {[]store.ID{version, {7}}, nil, 2}, {[]store.ID{{7}}, nil, 0}} {
		_, err := s.GC(t.Context(), toyWalk(s), func() ([]store.ID, error) { return c.kept, c.err })
		if !errors.Is(err, c.err) {
			t.Errorf("error %v, want %v", err, c.err)
		}
		wantHas(t, s, c.left > 0, ids[:2]...)
		wantHas(t, s, c.left > 2, ids[2])
		wantHas(t, s, c.left > 0, version)
	}
}
