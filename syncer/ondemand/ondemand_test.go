package ondemand

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"satchel/store"
	"satchel/store/disk"
	"satchel/syncer"
	"satchel/syncer/trace"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// remote gives out the chunks of a store.
type remote struct {
	syncer.Remote
	st    *disk.Store
	layer store.LayerID // that has them

	mu    sync.Mutex
	asked map[store.ID]int
	other store.ID      // if not zero, it comes instead of what was asked for
	held  chan struct{} // if not nil, nothing comes before it is closed
}

func (r *remote) Fetch(ctx context.Context, layer store.LayerID, ids []store.ID, frame func([]byte) error) error {
	if layer != r.layer {
		return syncer.ErrForbidden
	}
	r.mu.Lock()
	for _, id := range ids {
		r.asked[id]++
	}
	if !r.other.IsZero() {
		ids = []store.ID{r.other}
	}
	r.mu.Unlock()
	if r.held != nil {
		<-r.held
	}
	return r.st.Frames(ctx, ids, frame)
}

// pair returns a remote with chunks, and an empty store of the same domain.
func pair(t *testing.T) (r *remote, ids []store.ID, here string) {
	t.Helper()
	src, err := disk.Create(filepath.Join(t.TempDir(), "there"))
	must(t, err)
	t.Cleanup(func() { must(t, src.Close()) })
	w, err := src.Begin(t.Context(), "test")
	must(t, err)
	for i := range 50 {
		got, err := w.Put(t.Context(), fmt.Appendf(nil, "chunk %d", i))
		must(t, err)
		ids = append(ids, got...)
	}
	must(t, errors.Join(w.Flush(t.Context()), w.Close()))
	here = filepath.Join(t.TempDir(), "here")
	st, err := disk.CreateIn(here, src.Domain())
	must(t, err)
	must(t, st.Close())
	return &remote{st: src, layer: store.LayerID{2}, asked: map[store.ID]int{}}, ids, here
}

// open returns a getter that asks two layers, of which the second has the chunks.
func open(t *testing.T, st *disk.Store, r *remote) *Getter {
	t.Helper()
	g, err := Open(t.Context(), Options{
		Store: st, Remote: func() syncer.Remote { return r }, Layers: []trace.Layer{{Layer: store.LayerID{1}}, {Layer: r.layer}},
		Note: t.Logf,
	})
	must(t, err)
	return g
}

func TestOnce(t *testing.T) {
	r, ids, dir := pair(t)
	st, err := disk.Open(dir)
	must(t, err)
	g := open(t, st, r)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for i, id := range ids {
				b, err := g.Get(t.Context(), id)
				if err != nil || string(b) != fmt.Sprintf("chunk %d", i) {
					t.Errorf("chunk %d: %q, %v", i, b, err)
				}
			}
		})
	}
	wg.Wait()
	for id, n := range r.asked {
		if n != 1 {
			t.Errorf("chunk %s was asked for %d times", id.Short(), n)
		}
	}
	must(t, errors.Join(g.Close(), st.Close()))
	st, err = disk.Open(dir)
	must(t, err)
	for i, id := range ids {
		if _, err := st.Get(t.Context(), id); err != nil {
			t.Errorf("chunk %d was not kept: %v", i, err)
		}
	}
	must(t, st.Close())
}

// TestLend: what is here is lent, and what is not is fetched first. Both count.
func TestLend(t *testing.T) {
	r, ids, dir := pair(t)
	st, err := disk.Open(dir)
	must(t, err)
	for here := range 4 { // the last time, from the store alone
		g := open(t, st, r)
		if here == 1 {
			for _, id := range ids[:20] {
				_, err := g.Get(t.Context(), id)
				must(t, err)
			}
		}
		must(t, g.Locate(t.Context(), ids))
		some := ids[:min(30+10*here, len(ids))]
		must(t, g.Lend(t.Context(), some, func(chunks [][]byte) error {
			for i, b := range chunks {
				if want := fmt.Sprintf("chunk %d", i); string(b) != want {
					t.Errorf("chunk %d: %q", i, b)
				}
			}
			return nil
		}))
		failed := errors.New("failed")
		if err := g.Lend(t.Context(), some, func([][]byte) error { return failed }); !errors.Is(err, failed) {
			t.Errorf("lent to who fails: %v", err)
		}
		must(t, g.Close())
		if got := g.Stats(); got.Used != len(some) || len(g.Used()) != len(some) || got.Here != []int{0, 30, 40, 50}[here] {
			t.Errorf("of %d chunks lent: %+v", len(some), got)
		}
	}
	other, err := disk.CreateIn(filepath.Join(t.TempDir(), "other"), st.Domain())
	must(t, err)
	g := open(t, other, r)
	r.layer = store.LayerID{9}
	if err := g.Lend(t.Context(), ids, func([][]byte) error { return nil }); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("chunks that no layer has: %v", err)
	}
	must(t, errors.Join(g.Close(), other.Close(), st.Close()))
}

func TestWaiting(t *testing.T) {
	r, ids, dir := pair(t)
	st, err := disk.Open(dir)
	must(t, err)
	r.held = make(chan struct{})
	g := open(t, st, r)
	if g.Waiting() {
		t.Error("it waits for nothing")
	}
	got := make(chan error, 1)
	go func() {
		_, err := g.Get(t.Context(), ids[0])
		got <- err
	}()
	for !g.Waiting() { // or this hangs
		select {
		case err := <-got:
			t.Fatalf("it had what cannot have come: %v", err)
		case <-time.After(time.Millisecond):
		}
	}
	close(r.held)
	must(t, <-got)
	if g.Waiting() {
		t.Error("it has come, and somebody waits")
	}
	must(t, errors.Join(g.Close(), st.Close()))
}

func TestForged(t *testing.T) {
	r, ids, dir := pair(t)
	st, err := disk.Open(dir)
	must(t, err)
	g := open(t, st, r)
	r.other = ids[1]
	if _, err := g.Get(t.Context(), ids[0]); !errors.Is(err, syncer.ErrForged) {
		t.Errorf("a chunk that was not asked for: %v", err)
	}
	r.other = store.ID{}
	r.layer = store.LayerID{9}
	if _, err := g.Get(t.Context(), ids[2]); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("a chunk that no layer has: %v", err)
	}
	must(t, errors.Join(g.Close(), st.Close()))
}

// TestUnkept reads although the store can write nothing.
func TestUnkept(t *testing.T) {
	r, ids, dir := pair(t)
	full := errors.New("the disk is full")
	st, err := disk.OpenFaulty(dir, func(string, string) (error, bool) { return full, false }) //nolint:revive // as OpenFaulty has it
	must(t, err)
	g := open(t, st, r)
	for i, id := range ids {
		if b, err := g.Get(t.Context(), id); err != nil || string(b) != fmt.Sprintf("chunk %d", i) {
			t.Errorf("chunk %d: %q, %v", i, b, err)
		}
	}
	_ = g.Close() // it could not write
	_ = st.Close()
}
