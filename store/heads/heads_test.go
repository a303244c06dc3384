package heads

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"satchel/store"
	"satchel/store/durable"
)

func newHeads(t testing.TB) *Heads {
	t.Helper()
	dir := t.TempDir()
	leases := filepath.Join(dir, "leases")
	if err := os.Mkdir(leases, 0o700); err != nil {
		t.Fatal(err)
	}
	h := New(filepath.Join(dir, "heads.db"), leases, durable.FS{})
	if err := h.Init(filepath.Join(dir, "tmp")); err != nil {
		t.Fatal(err)
	}
	return h
}

func create(t testing.TB, h *Heads, name string) store.Head {
	t.Helper()
	head, err := h.Create(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return head
}

func TestCreateLookupList(t *testing.T) {
	h := newHeads(t)
	b, a := create(t, h, "b"), create(t, h, "a/ü x")
	if _, err := h.Create(t.Context(), "b"); !errors.Is(err, store.ErrExist) {
		t.Errorf("create again: %v, want %v", err, store.ErrExist)
	}
	if a.Layer == b.Layer || a.Layer.IsZero() || !a.Version.IsZero() {
		t.Errorf("new layers %+v and %+v", a, b)
	}
	for _, want := range []store.Head{a, b} {
		if got, err := h.Lookup(t.Context(), want.Name); err != nil || got != want {
			t.Errorf("lookup: %+v, %v: want %+v", got, err, want)
		}
		if got, err := h.Head(t.Context(), want.Layer); err != nil || got != want {
			t.Errorf("head: %+v, %v: want %+v", got, err, want)
		}
	}
	list, err := h.List(t.Context())
	if err != nil || len(list) != 2 || list[0] != a || list[1] != b {
		t.Errorf("list: %+v, %v", list, err)
	}
	if _, err := h.Lookup(t.Context(), "c"); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("lookup of nothing: %v", err)
	}
	if _, err := h.Head(t.Context(), store.LayerID{1}); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("head of nothing: %v", err)
	}
}

func TestBadNames(t *testing.T) {
	h := newHeads(t)
	for _, name := range []string{"", "a\x00b", strings.Repeat("x", MaxName+1)} {
		if _, err := h.Create(t.Context(), name); err == nil {
			t.Errorf("name %.20q is taken", name)
		}
	}
}

func TestCompareAndSwap(t *testing.T) {
	h := newHeads(t)
	ctx := t.Context()
	a, b := create(t, h, "a"), create(t, h, "b")
	v1, v2 := store.ID{1}, store.ID{2}
	for _, c := range []struct {
		what  string
		moves []store.Move
		want  error
		a, b  store.ID // afterwards
	}{
		{"no moves", nil, nil, store.ID{}, store.ID{}},
		{"both", []store.Move{{Layer: a.Layer, To: v1}, {Layer: b.Layer, To: v1}}, nil, v1, v1},
		{"second is wrong", []store.Move{{Layer: a.Layer, From: v1, To: v2}, {Layer: b.Layer, From: v2, To: v1}}, store.ErrMoved, v1, v1},
		{"second is nothing", []store.Move{{Layer: a.Layer, From: v1, To: v2}, {Layer: store.LayerID{9}}}, store.ErrNotExist, v1, v1},
		{"one after the other", []store.Move{{Layer: a.Layer, From: v1, To: v2}, {Layer: a.Layer, From: v2, To: v1}}, nil, v1, v1},
		{"back to none", []store.Move{{Layer: b.Layer, From: v1}}, nil, v1, store.ID{}},
	} {
		if err := h.CompareAndSwap(ctx, c.moves...); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.what, err, c.want)
		}
		nowA, err := h.Head(ctx, a.Layer)
		if err != nil {
			t.Fatal(err)
		}
		nowB, err := h.Head(ctx, b.Layer)
		if err != nil {
			t.Fatal(err)
		}
		if nowA.Version != c.a || nowB.Version != c.b {
			t.Errorf("%s: heads are at %s and %s, want %s and %s", c.what, nowA.Version.Short(), nowB.Version.Short(), c.a.Short(), c.b.Short())
		}
	}
}

// TestOneSwapWins has many try the same move.
func TestOneSwapWins(t *testing.T) {
	h := newHeads(t)
	a := create(t, h, "a")
	var g errgroup.Group
	wins := make(chan byte, 8)
	for i := range byte(8) {
		g.Go(func() error {
			err := h.CompareAndSwap(t.Context(), store.Move{Layer: a.Layer, To: store.ID{i + 1}})
			if err == nil {
				wins <- i + 1
			} else if !errors.Is(err, store.ErrMoved) {
				return err
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if len(wins) != 1 {
		t.Fatalf("%d swaps won, want 1", len(wins))
	}
	if now, err := h.Head(t.Context(), a.Layer); err != nil || now.Version != (store.ID{<-wins}) {
		t.Errorf("the head is not where the winner moved it: %v, %v", now, err)
	}
}

func TestRemove(t *testing.T) {
	h := newHeads(t)
	a := create(t, h, "a")
	if err := h.Remove(t.Context(), a.Layer, store.ID{1}); !errors.Is(err, store.ErrMoved) {
		t.Errorf("remove at another version: %v, want %v", err, store.ErrMoved)
	}
	if err := h.Remove(t.Context(), a.Layer, store.ID{}); err != nil {
		t.Fatal(err)
	}
	if err := h.Remove(t.Context(), a.Layer, store.ID{}); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("remove again: %v, want %v", err, store.ErrNotExist)
	}
	if again := create(t, h, "a"); again.Layer == a.Layer {
		t.Error("a new layer has the ID of a removed one")
	}
}

func TestLeases(t *testing.T) {
	h := newHeads(t)
	ctx := t.Context()
	create(t, h, "empty")
	a := create(t, h, "a")
	if err := h.CompareAndSwap(ctx, store.Move{Layer: a.Layer, To: store.ID{1}}); err != nil {
		t.Fatal(err)
	}
	writer, err := h.Lease(ctx, "import", true)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Advance(ctx); err != nil {
		t.Fatal(err)
	}
	reader, err := h.Lease(ctx, "guest", false, store.ID{2}, store.ID{3})
	if err != nil {
		t.Fatal(err)
	}
	if writer.Epoch != 0 || reader.Epoch != 1 || !writer.Writer || reader.Writer {
		t.Errorf("leases %+v and %+v", writer.Lease, reader.Lease)
	}
	s, err := h.State(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(s.Roots()); got != fmt.Sprint([]store.ID{{1}, {2}, {3}}) || s.Epoch != 1 || len(s.Leases) != 2 {
		t.Errorf("state %+v with roots %s", s, got)
	}
	if err := reader.Release(ctx); err != nil {
		t.Fatal(err)
	}
	if s, err = h.State(ctx); err != nil || !s.Alive(writer.Name) || s.Alive(reader.Name) || len(s.Roots()) != 1 {
		t.Errorf("after the reader ended: %+v, %v", s, err)
	}
	if err := writer.Release(ctx); err != nil {
		t.Fatal(err)
	}
}

// TestDeadLease lets go of a lease's lock without ending it, as a process does
// that dies.
func TestDeadLease(t *testing.T) {
	h := newHeads(t)
	dead, err := h.Lease(t.Context(), "dies", true)
	if err != nil {
		t.Fatal(err)
	}
	alive, err := h.Lease(t.Context(), "lives", true)
	if err != nil {
		t.Fatal(err)
	}
	dead.lock.Close()
	s, err := h.Bury(t.Context())
	if err != nil || len(s.Leases) != 1 || !s.Alive(alive.Name) {
		t.Errorf("leases after one died: %+v, %v", s.Leases, err)
	}
	files, err := os.ReadDir(h.leases)
	if err != nil || len(files) != 1 || files[0].Name() != alive.Name {
		t.Errorf("files of leases: %v, %v", files, err)
	}
	if err := alive.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
}
