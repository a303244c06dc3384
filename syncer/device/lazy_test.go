package device

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"satchel/layers"
	"satchel/layers/repo"
	"satchel/layers/workspace"
	"satchel/store"
	"satchel/syncer"
	"satchel/syncer/exchange"
	"satchel/syncer/ondemand"
	"satchel/syncer/trace"
)

// lazyPair returns a publisher, a device with a workspace, and one of the same
// user that took it lazily.
func (w *world) lazyPair() (pub, a, b *home) {
	w.t.Helper()
	pub = w.withOS()
	a, b = w.enrolled("ana", "laptop"), w.enrolled("ana", "desk")
	a.bringOS(w)
	a.workspace("ana", "debian-12")
	a.commit("ana/data", layers.Data, map[string]string{"home/ana/letter": "dear"})
	a.sync()
	b.syncLazily()
	return pub, a, b
}

func (h *home) syncLazily() Report {
	h.t.Helper()
	rep, err := h.dev.SyncLazily(h.t.Context())
	must(h.t, err)
	return rep
}

// pins returns a workspace's layers at their heads.
func (h *home) pins(name string) (pins []workspace.Pin) {
	h.t.Helper()
	def, err := h.set.Load(name)
	must(h.t, err)
	for _, place := range def.Stack() {
		head, err := h.st.Heads().Head(h.t.Context(), place.ID)
		must(h.t, err)
		pins = append(pins, workspace.Pin{Kind: place.Kind, Layer: place.ID, Name: place.Name, Version: head.Version})
	}
	return pins
}

// read reads all files of a layer through a getter.
func (h *home) read(ctx context.Context, g store.Getter, ref string) (map[string]string, error) {
	tree, err := h.repo.Tree(ctx, ref)
	must(h.t, err)
	files := map[string]string{}
	for _, e := range tree {
		for _, x := range e.Extents {
			b, err := g.Get(ctx, x.ID)
			if err != nil {
				return nil, err
			}
			files[e.Path] += string(b)
		}
	}
	return files, nil
}

// hasAll reports whether all contents of a layer are in the store.
func (h *home) hasAll(ref string) bool {
	h.t.Helper()
	_, left, err := exchange.Left(h.t.Context(), h.st, h.head(ref).Version)
	must(h.t, err)
	return left.Chunks == 0
}

func (h *home) thin() int {
	h.t.Helper()
	thin, err := h.st.Heads().Thin(h.t.Context())
	must(h.t, err)
	return len(thin)
}

// notWhole checks that the store is sound and lacks contents, which verify and
// status tell.
func (h *home) notWhole(workspaceName string) {
	h.t.Helper()
	res, err := h.st.Verify(h.t.Context(), h.repo.Walker(), nil)
	must(h.t, err)
	if !res.OK() || res.ToCome == 0 {
		h.t.Errorf("verify: %v, %d chunks to come", res.Err(), res.ToCome)
	}
	st, err := h.dev.Status(h.t.Context())
	must(h.t, err)
	for _, ws := range st.Workspaces {
		if ws.Name == workspaceName && (ws.Ready || ws.Fill == nil || ws.Fill.Left == 0 || ws.Fill.Percent >= 100) {
			h.t.Errorf("status: %+v %+v", ws, ws.Fill)
		}
	}
}

func TestLazySync(t *testing.T) {
	w := newWorld(t)
	pub, a, b := w.lazyPair()
	if b.thin() != 1 {
		t.Fatalf("%d thin versions, want the os layer's", b.thin())
	}
	wantSame(t, a, b, "ana/data")
	b.notWhole("ana")
	if err := b.repo.Whole(t.Context(), b.head("debian-12").Version); !errors.Is(err, repo.ErrThin) {
		t.Errorf("whole: %v", err)
	}
	b.sync()
	if b.thin() != 0 {
		t.Error("thin after a sync")
	}
	wantSame(t, pub, b, "debian-12")
	b.sound()
	st, err := b.dev.Status(t.Context())
	must(t, err)
	if ws := st.Workspaces[0]; !ws.Ready || ws.Fill != nil {
		t.Errorf("status: %+v", ws)
	}
}

// TestLazyNewer takes a second version before the first is filled.
func TestLazyNewer(t *testing.T) {
	w := newWorld(t)
	pub, _, b := w.lazyPair()
	first := b.head("debian-12").Version
	pub.commit("debian-12", layers.OS, map[string]string{"usr/big": large(1, 200_000) + large(2, 200_000), "etc/new": "new"})
	pub.sync()
	b.syncLazily()
	if b.thin() != 2 {
		t.Fatalf("%d thin versions, want both", b.thin())
	}
	b.notWhole("ana")
	_, err := b.st.GC(t.Context(), b.repo.Walker())
	must(t, err)
	b.sync()
	if b.thin() != 0 {
		t.Error("thin after a sync")
	}
	wantSame(t, pub, b, "debian-12")
	must(t, b.repo.Whole(t.Context(), first))
	wantFiles(t, b, "debian-12@"+first.String(), map[string]string{"etc/os-release": "Debian 12", "usr/big": large(1, 300_000)})
	b.sound()
}

// TestFillWhatFits has room for one of two thin versions.
func TestFillWhatFits(t *testing.T) {
	w := newWorld(t)
	pub, _, b := w.lazyPair()
	first := b.head("debian-12")
	must(t, b.set.UpdateHealth("ana", func(rec *workspace.Health) error { // so that it stays
		rec.Good = []workspace.Pin{{Kind: layers.OS, Layer: first.Layer, Name: first.Name, Version: first.Version}}
		return nil
	}))
	pub.commit("debian-12", layers.OS, map[string]string{"usr/big": noise(2, 4<<20)})
	pub.sync()
	b.syncLazily()
	at, err := DiskOf(b.dir)
	must(t, err)
	must(t, SetBudget(b.dir, at.Used+1<<20))
	if _, err := b.dev.Sync(t.Context()); !errors.Is(err, ErrNoRoom) {
		t.Errorf("error %v, want that there is no room", err)
	}
	thin, err := b.st.Heads().Thin(t.Context())
	must(t, err)
	if _, ok := thin[first.Version]; ok || len(thin) == 0 {
		t.Errorf("thin: %v, want the newer version alone", thin)
	}
	must(t, SetBudget(b.dir, 0))
	if b.sync(); b.thin() != 0 {
		t.Error("with room, there are thin versions")
	}
	wantSame(t, pub, b, "debian-12")
}

// TestFillLeavesEvicted fills two thin versions, of which the older is evicted while
// the newer is filled: it stays as it is.
func TestFillLeavesEvicted(t *testing.T) {
	w := newWorld(t)
	pub, _, b := w.lazyPair()
	first := b.head("debian-12")
	pub.commit("debian-12", layers.OS, map[string]string{"usr/big": large(2, 300_000)})
	pub.sync()
	b.syncLazily()
	asked := 0
	must(t, b.dev.Fill(t.Context(), func(ctx context.Context) error {
		if asked++; asked > 1 {
			return nil
		}
		gone, err := b.st.Evict(ctx, map[store.ID]store.LayerID{first.Version: first.Layer})
		if err == nil && len(gone) == 0 {
			t.Error("it was not evicted")
		}
		return err
	}))
	if b.thin() != 0 || b.isHere(first.Version) {
		t.Errorf("%d thin versions, the evicted one is here: %v", b.thin(), b.isHere(first.Version))
	}
	wantSame(t, pub, b, "debian-12")
	b.sound()
}

// TestLazyWork sends what was made on top of a thin version: its base names a
// file of the os layer that never came.
func TestLazyWork(t *testing.T) {
	w := newWorld(t)
	_, a, b := w.lazyPair()
	big, err := b.repo.Tree(t.Context(), "debian-12")
	must(t, err)
	head := b.head("ana/system")
	wr, err := b.st.Begin(t.Context(), "test")
	must(t, err)
	_, err = b.repo.Commit(t.Context(), wr, repo.Commit{
		Head: head, Kind: layers.System, Message: "hide a file",
		Tree: layers.Tree{{Path: "usr/big", Type: layers.Whiteout}}, Base: layers.Tree{*big.Find("usr/big")},
	})
	must(t, errors.Join(err, wr.Close()))
	if b.thin() != 2 {
		t.Fatalf("%d thin versions, want the os layer's and the new one", b.thin())
	}
	rep := b.syncLazily()
	if reported(t, rep, "ana/system").Pushed.IsZero() {
		t.Errorf("not sent: %+v", rep)
	}
	if b.thin() != 1 {
		t.Errorf("%d thin versions, want the os layer's", b.thin())
	}
	a.sync()
	wantSame(t, a, b, "ana/system")
	a.sound()
	b.sync()
	b.sound()
}

func TestContents(t *testing.T) {
	w := newWorld(t)
	pub, _, b := w.lazyPair()
	want := pub.files("debian-12")
	g, err := b.dev.Contents(t.Context(), b.pins("ana"))
	must(t, err)
	w.counted()
	// Many read everything at once; each chunk is asked for once.
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			got, err := b.read(t.Context(), g, "debian-12")
			if err != nil || !maps.Equal(got, want) {
				t.Errorf("read: %v, %d files", err, len(got))
			}
		})
	}
	wg.Wait()
	s := g.Stats()
	if s.Missed+s.Companions != s.Used || s.Missed == 0 || s.Here != 0 {
		t.Errorf("stats: %+v", s)
	}
	if n := int64(len(w.counted())); n != s.Requests {
		t.Errorf("%d requests, %d counted", n, s.Requests)
	}
	must(t, g.Close())
	// What was read is durable, and complete only once a fill says so.
	b.close()
	b.open()
	if b.thin() != 1 {
		t.Error("whole, but nobody has made sure of it")
	}
	w.hook(func(r *http.Request) error {
		if strings.HasSuffix(r.URL.Path, "/fetch") {
			return syncer.ErrForbidden
		}
		return nil
	})
	must(t, b.dev.Fill(t.Context(), func(context.Context) error { return nil }))
	w.hook(nil)
	if b.thin() != 0 {
		t.Error("thin after a fill")
	}
	b.sound()
}

// TestContentsOutage reads while the server is away.
func TestContentsOutage(t *testing.T) {
	w := newWorld(t)
	pub, _, b := w.lazyPair()
	var mu sync.Mutex
	var notes []string
	waits, back := make(chan struct{}), make(chan struct{})
	b.dev.opt.Note = func(format string, _ ...any) {
		mu.Lock()
		defer mu.Unlock()
		if notes = append(notes, format); len(notes) == 1 {
			close(waits)
		}
	}
	g, err := b.dev.Contents(t.Context(), b.pins("ana"))
	must(t, err)
	w.stop()
	got := make(chan map[string]string)
	go func() {
		defer close(back)
		files, err := b.read(context.Background(), g, "debian-12")
		if err != nil {
			t.Errorf("read: %v", err)
		}
		got <- files
	}()
	<-waits
	w.start()
	if files := <-got; !maps.Equal(files, pub.files("debian-12")) {
		t.Error("other files came")
	}
	<-back
	must(t, g.Close())
	mu.Lock()
	defer mu.Unlock()
	if len(notes) != 2 || !strings.Contains(notes[0], "waits") || !strings.Contains(notes[1], "goes on") {
		t.Errorf("notes: %q", notes)
	}
}

// TestContentsEnd ends a read that waits.
func TestContentsEnd(t *testing.T) {
	w := newWorld(t)
	_, _, b := w.lazyPair()
	waits := make(chan struct{})
	b.dev.opt.Note = func(string, ...any) { close(waits) }
	g, err := b.dev.Contents(t.Context(), b.pins("ana"))
	must(t, err)
	w.stop()
	ended := make(chan error)
	for range 2 {
		go func() { _, err := b.read(context.Background(), g, "debian-12"); ended <- err }()
	}
	<-waits
	must(t, g.Close())
	for range 2 {
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("read: %v", err)
		}
	}
	if _, err := b.read(context.Background(), g, "debian-12"); !errors.Is(err, context.Canceled) {
		t.Errorf("read after the end: %v", err)
	}
	w.start()
}

// TestFillMakesWay has a fill wait while somebody reads.
func TestFillMakesWay(t *testing.T) {
	w := newWorld(t)
	_, _, b := w.lazyPair()
	g, err := b.dev.Contents(t.Context(), b.pins("ana"))
	must(t, err)
	asked, release := make(chan struct{}), make(chan struct{})
	var mu sync.Mutex
	requests := 0
	w.hook(func(r *http.Request) error {
		if !strings.HasSuffix(r.URL.Path, "/fetch") {
			return nil
		}
		mu.Lock()
		requests++
		first := requests == 1
		mu.Unlock()
		if first {
			close(asked)
			<-release
		}
		return nil
	})
	read, filled := make(chan error), make(chan error)
	go func() { _, err := b.read(t.Context(), g, "debian-12"); read <- err }()
	<-asked
	go func() { filled <- b.dev.Fill(t.Context(), g.Idle) }()
	time.Sleep(100 * time.Millisecond) // enough for a fill that does not wait to be found out
	mu.Lock()
	if requests != 1 {
		t.Errorf("%d requests while a read waits", requests)
	}
	mu.Unlock()
	close(release)
	must(t, <-read)
	must(t, <-filled)
	must(t, g.Close())
	w.hook(nil)
	if b.thin() != 0 {
		t.Error("thin after a fill")
	}
	b.sound()
}

// TestContentsCut loses answers in their middle.
func TestContentsCut(t *testing.T) {
	w := newWorld(t)
	pub, _, b := w.lazyPair()
	g, err := b.dev.Contents(t.Context(), b.pins("ana"))
	must(t, err)
	w.lose("/fetch", 2)
	files, err := b.read(t.Context(), g, "debian-12")
	must(t, err)
	if !maps.Equal(files, pub.files("debian-12")) {
		t.Error("other files came")
	}
	must(t, g.Close())
	b.sync()
	b.sound()
}

func TestTrace(t *testing.T) {
	w := newWorld(t)
	_, a, b := w.lazyPair()
	read := func(h *home) ondemand.Stats {
		g, err := h.dev.Contents(t.Context(), h.pins("ana"))
		must(t, err)
		for h == b && !h.hasAll("debian-12") { // what the trace names comes unasked
			time.Sleep(10 * time.Millisecond)
		}
		_, err = h.read(t.Context(), g, "debian-12")
		must(t, err)
		_, err = h.read(t.Context(), g, "ana/data")
		must(t, err)
		kept, err := h.dev.SendTrace(t.Context(), h.pins("ana"), append(g.Used(), store.ID{1}))
		must(t, err)
		if first := h == a; first && kept != g.Stats().Used-1 || !first && kept != 0 {
			t.Errorf("the server kept %d of %d chunks", kept, g.Stats().Used)
		}
		s := g.Stats()
		must(t, g.Close())
		return s
	}
	// All is here: it is recorded all the same. The file of the data layer and
	// the chunk that no layer has are not kept.
	if s := read(a); s.Here != s.Used {
		t.Errorf("stats: %+v", s)
	}
	if s := read(b); s.Prefetched != s.Used-1 || s.Here != 1 {
		t.Errorf("stats with a trace: %+v", s)
	}
	// Who may not read the stack gets no trace of it, and may not send one.
	stack := stackOf(a.pins("ana"))
	w.do("POST", "users", syncer.User{Name: "bob"}, nil)
	w.do("DELETE", "layers/debian-12/grants/all", nil, nil)
	c := w.enrolled("bob", "other")
	id := traceID(c, stack)
	if _, err := c.dev.server().Trace(t.Context(), id); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("a trace for one who may not read its layers: %v", err)
	}
	if _, err := c.dev.server().SendTrace(t.Context(), id, traceOf(stack)); !errors.Is(err, syncer.ErrForbidden) {
		t.Errorf("a trace of one who may not read its layers: %v", err)
	}
}

func traceID(h *home, stack []trace.Layer) store.ID { return trace.StackID(h.st.Domain(), stack) }

func traceOf(stack []trace.Layer) *trace.Trace {
	return &trace.Trace{Stack: stack, Chunks: []store.ID{{1}}}
}
