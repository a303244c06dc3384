package adopt_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"satchel/layers"
	"satchel/layers/adopt"
	"satchel/layers/dir"
	"satchel/layers/ingest"
	"satchel/layers/layerstest"
	"satchel/layers/manifest"
	"satchel/layers/repo"
	"satchel/layers/treefs"
	"satchel/store"
	"satchel/store/disk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newStore makes a store in a domain of its own, in memory where possible.
func newStore(t testing.TB) *disk.Store {
	t.Helper()
	d, err := os.MkdirTemp("/dev/shm", "satchel-test-") //nolint:usetesting // another file system than the tests'
	if err != nil {
		d = t.TempDir()
	}
	st, err := disk.Create(filepath.Join(d, "store"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(st.Close(), os.RemoveAll(d)); err != nil {
			t.Error(err)
		}
	})
	return st
}

// A home is a store with layers.
type home struct {
	t  testing.TB
	st *disk.Store
	r  *repo.Repo
}

func newHome(t testing.TB) home {
	st := newStore(t)
	return home{t, st, repo.New(st, "laptop")}
}

func (h home) check(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// create adds a layer.
func (h home) create(name string) store.Head {
	h.t.Helper()
	head, err := h.r.Create(h.t.Context(), name)
	h.check(err)
	return head
}

// commit imports directories, the first as the tree and a second as the base,
// as the next version of a layer.
func (h home) commit(name string, kind layers.Kind, parents []store.ID, dirs ...string) store.ID {
	h.t.Helper()
	ctx := h.t.Context()
	w, err := h.st.Begin(ctx, "test")
	h.check(err)
	defer w.Close()
	head, err := h.st.Heads().Lookup(ctx, name)
	h.check(err)
	c := repo.Commit{Head: head, Kind: kind, Parents: parents, Message: "from " + filepath.Base(dirs[0])}
	for i, into := range []*layers.Tree{&c.Tree, &c.Base} {
		if i < len(dirs) {
			*into, _, err = dir.Import(ctx, dirs[i], ingest.New(ctx, w, h.st.Domain()), dir.Options{})
			h.check(err)
		}
	}
	ids, err := h.r.Commit(ctx, w, c)
	h.check(err)
	return ids[0]
}

// write puts a file with contents that do not compress into a directory.
func write(t testing.TB, dir, name string, seed uint64, n int) {
	t.Helper()
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(seed, 2))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, name), b, 0o644)); err != nil {
		t.Fatal(err)
	}
}

// hostile is a directory of everything that a file system can hold, and files
// that are large.
func hostile(t testing.TB) string {
	d := filepath.Join(t.TempDir(), "all")
	layerstest.Hostile(t, d, false)
	write(t, d, "large", 1, 5<<20)
	write(t, d, "shared", 2, 300_000)
	return d
}

// filled is a home with several layers and merges in their histories.
func filled(t testing.TB) (h home, all, edited string) {
	h = newHome(t)
	all, edited = hostile(t), filepath.Join(t.TempDir(), "edited")
	write(t, edited, "shared", 2, 300_000)
	write(t, edited, "own", 3, 100_000)
	h.create("debian-12")
	h.commit("debian-12", layers.OS, nil, all)
	h.create("data")
	first := h.commit("data", layers.Data, nil, edited, all)
	second := h.commit("data", layers.Data, nil, all, edited)
	h.commit("data", layers.Data, []store.ID{second, first}, edited)
	_, err := h.r.Rollback(t.Context(), "data", second.Short())
	h.check(err)
	h.create("empty")
	h.create("local")
	h.commit("local", layers.Local, nil, edited)
	return h, all, edited
}

func TestAdopt(t *testing.T) {
	h, all, edited := filled(t)
	to := newStore(t)
	var done, total int64
	ids, err := adopt.Adopt(t.Context(), h.st, to, func(d, n int64) {
		if d < done || n < total || d > n {
			t.Errorf("progress from %d of %d to %d of %d", done, total, d, n)
		}
		done, total = d, n
	})
	if err != nil {
		t.Fatal(err)
	}
	if done != total || total < 5<<20 || total > 8<<20 {
		t.Errorf("%d of %d bytes were done, want all, and each contents once", done, total)
	}
	sameHeads(t, h.st, to, ids)
	for old, id := range ids {
		sameVersion(t, h.st, to, ids, old, id)
	}
	res, err := to.Verify(t.Context(), repo.New(to, "").Walker(), nil)
	if err != nil || !res.OK() {
		t.Errorf("verify: %v, %v", err, res.Err())
	}
	for _, d := range []string{all, edited} {
		addsNothing(t, to, d)
	}
}

// sameHeads checks that layers have their IDs and names.
func sameHeads(t *testing.T, from, to *disk.Store, ids map[store.ID]store.ID) {
	t.Helper()
	want, err := from.Heads().List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range want {
		want[i].Version = ids[want[i].Version]
	}
	if got, err := to.Heads().List(t.Context()); err != nil || !slices.Equal(got, want) {
		t.Errorf("heads %v, want %v; error %v", got, want, err)
	}
}

// sameVersion compares all of a version with its old form.
func sameVersion(t *testing.T, from, to *disk.Store, ids map[store.ID]store.ID, old, id store.ID) {
	t.Helper()
	a, err := manifest.ReadVersion(t.Context(), from, old)
	if err != nil {
		t.Fatal(err)
	}
	b, err := manifest.ReadVersion(t.Context(), to, id)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range a.Parents {
		if b.Parents[i] != ids[p] {
			t.Errorf("version %q: parent %d is %s", a.Message, i, b.Parents[i].Short())
		}
	}
	if len(a.Parents) != len(b.Parents) || a.Layer != b.Layer || a.Kind != b.Kind || !a.Time.Equal(b.Time) || a.Device != b.Device || a.Message != b.Message {
		t.Errorf("version %+v, want %+v", b, a)
	}
	sameTree(t, from, to, a.Tree, b.Tree)
	sameTree(t, from, to, a.Base, b.Base)
}

func sameTree(t *testing.T, from, to *disk.Store, old, root layers.Root) {
	t.Helper()
	want, err := manifest.ReadTree(t.Context(), from, old)
	if err != nil {
		t.Fatal(err)
	}
	got, err := manifest.ReadTree(t.Context(), to, root)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want) {
		t.Fatalf("tree of %d entries, want %d", len(got), len(want))
	}
	for i := range want {
		x, y := want[i], got[i]
		if !slices.Equal(holes(x.Extents), holes(y.Extents)) {
			t.Errorf("%q: holes %v, want %v", x.Path, holes(y.Extents), holes(x.Extents))
		}
		if x.Size < 16<<20 && !bytes.Equal(contents(t, from, &x), contents(t, to, &y)) {
			t.Errorf("%q: other contents", x.Path)
		}
		x.Extents, y.Extents = nil, nil
		if x.Path != y.Path || !x.Same(&y) {
			t.Errorf("entry %+v, want %+v", y, x)
		}
	}
}

// holes tells where the holes of a file are.
func holes(xs []layers.Extent) (at [][2]int64) {
	var off int64
	for _, x := range xs {
		if x.ID.IsZero() {
			at = append(at, [2]int64{off, x.Len})
		}
		off += x.Len
	}
	return at
}

func contents(t *testing.T, g store.Getter, e *layers.Entry) []byte {
	t.Helper()
	f := treefs.Open(t.Context(), g, e)
	b, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// addsNothing imports a directory into a store that should hold all of it.
func addsNothing(t *testing.T, st *disk.Store, from string) {
	t.Helper()
	w, err := st.Begin(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	tree, _, err := dir.Import(t.Context(), from, ingest.New(t.Context(), w, st.Domain()), dir.Options{})
	if err == nil {
		_, err = manifest.WriteTree(t.Context(), w, tree)
	}
	if err == nil {
		err = w.Flush(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	if s := w.Stats(); s.Chunks == 0 || s.NewBytes != 0 {
		t.Errorf("%s: importing it again adds %d of %d bytes", from, s.NewBytes, s.Bytes)
	}
}

// TestPartialVersions has a version of which only the record is there.
func TestPartialVersions(t *testing.T) {
	h := newHome(t)
	head := h.create("data")
	w, err := h.st.Begin(t.Context(), "test")
	h.check(err)
	defer w.Close()
	v := layers.Version{Layer: head.Layer, Kind: layers.Data, Time: time.Unix(1, 0), Message: "old", Tree: layers.Root{ID: store.ID{1}, Entries: 2}}
	old, err := manifest.WriteVersion(t.Context(), w, v)
	h.check(err)
	last, err := manifest.WriteVersion(t.Context(), w, layers.Version{Layer: head.Layer, Kind: layers.Data, Time: time.Unix(2, 0), Parents: []store.ID{old}})
	h.check(err)
	h.check(w.Flush(t.Context()))
	h.check(h.st.Heads().CompareAndSwap(t.Context(), store.Move{Layer: head.Layer, To: last, Partial: []store.ID{old}}))
	to := newStore(t)
	ids, err := adopt.Adopt(t.Context(), h.st, to, nil)
	h.check(err)
	partial, err := to.Heads().Partial(t.Context())
	if want := map[store.ID]struct{}{ids[old]: {}}; err != nil || !maps.Equal(partial, want) {
		t.Errorf("partial versions %v, want %v; error %v", partial, want, err)
	}
	got, err := manifest.ReadVersion(t.Context(), to, ids[old])
	if err != nil || got.Message != "old" || got.Tree != (layers.Root{}) {
		t.Errorf("version %+v, error %v", got, err)
	}
	if _, err := repo.New(to, "").Tree(t.Context(), "data@"+ids[old].Short()); !errors.Is(err, repo.ErrPartial) {
		t.Errorf("tree: error %v, want ErrPartial", err)
	}
}

// TestCutOff stops at several points. What layers come from is as before, and
// none of them appears.
func TestCutOff(t *testing.T) {
	h, _, _ := filled(t)
	before, err := h.st.Heads().List(t.Context())
	h.check(err)
	for _, at := range []int64{0, 1, 3 << 20} {
		ctx, cancel := context.WithCancel(t.Context())
		to := newStore(t)
		_, err := adopt.Adopt(ctx, h.st, to, func(done, _ int64) {
			if done >= at {
				cancel()
			}
		})
		cancel()
		if !errors.Is(err, context.Canceled) {
			t.Errorf("cut off at %d: error %v", at, err)
		}
		if heads, err := to.Heads().List(t.Context()); err != nil || len(heads) > 0 {
			t.Errorf("cut off at %d: layers %v, error %v", at, heads, err)
		}
	}
	if after, err := h.st.Heads().List(t.Context()); err != nil || !slices.Equal(after, before) {
		t.Errorf("heads %v, want %v; error %v", after, before, err)
	}
	if res, err := h.st.Verify(t.Context(), h.r.Walker(), nil); err != nil || !res.OK() {
		t.Errorf("verify: %v, %v", err, res.Err())
	}
}

func TestDamageIsReported(t *testing.T) {
	for name, c := range map[string]struct {
		there bool
		want  error
	}{"absent": {false, store.ErrNotExist}, "of another length": {true, store.ErrCorrupt}} {
		t.Run(name, func(t *testing.T) {
			h := newHome(t)
			head := h.create("data")
			w, err := h.st.Begin(t.Context(), "test")
			h.check(err)
			defer w.Close()
			x := layers.Extent{ID: store.ID{1}, Len: 3}
			if c.there {
				ids, err := w.Put(t.Context(), []byte("four"))
				h.check(err)
				x.ID = ids[0]
			}
			tree := layers.Tree{{Path: "f", Type: layers.Regular, Size: 3, Extents: []layers.Extent{x}}}
			_, err = h.r.Commit(t.Context(), w, repo.Commit{Head: head, Kind: layers.Data, Tree: tree})
			h.check(err)
			if _, err = adopt.Adopt(t.Context(), h.st, newStore(t), nil); !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
		})
	}
}

func TestLayerThatIsThereAlready(t *testing.T) {
	h, to := newHome(t), newHome(t)
	h.create("data")
	to.create("data")
	if _, err := adopt.Adopt(t.Context(), h.st, to.st, nil); !errors.Is(err, store.ErrExist) {
		t.Errorf("error %v, want ErrExist", err)
	}
}

// BenchmarkAdopt compares with importing the same files.
func BenchmarkAdopt(b *testing.B) {
	d := filepath.Join(b.TempDir(), "files")
	size := 0
	for i := range 1200 {
		n := 1000 + i*100
		write(b, d, fmt.Sprint(i), uint64(i), n)
		size += n
	}
	b.Run("import", func(b *testing.B) {
		b.SetBytes(int64(size))
		for b.Loop() {
			h := newHome(b)
			h.create("data")
			h.commit("data", layers.Data, nil, d)
		}
	})
	b.Run("adopt", func(b *testing.B) {
		h := newHome(b)
		h.create("data")
		h.commit("data", layers.Data, nil, d)
		b.SetBytes(int64(size))
		for b.Loop() {
			if _, err := adopt.Adopt(b.Context(), h.st, newStore(b), nil); err != nil {
				b.Fatal(err)
			}
		}
	})
}
