package repo_test

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"satchel/layers"
	"satchel/layers/manifest"
	"satchel/layers/repo"
	"satchel/store"
	"satchel/store/disk"
)

func newRepo(t *testing.T) (*repo.Repo, *disk.Store) {
	t.Helper()
	st, err := disk.Create(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return repo.New(st, "laptop"), st
}

func create(t *testing.T, r *repo.Repo, name string) store.Head {
	t.Helper()
	h, err := r.Create(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// tree returns a tree of one file that belongs to that user.
func tree(uid uint32) layers.Tree {
	return layers.Tree{{Path: "f", Type: layers.Regular, UID: uid}}
}

func commit(t *testing.T, r *repo.Repo, st *disk.Store, commits ...repo.Commit) ([]store.ID, error) {
	t.Helper()
	w, err := st.Begin(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return r.Commit(t.Context(), w, commits...)
}

// history commits trees of users 0 to n-1 and returns the versions.
func history(t *testing.T, r *repo.Repo, st *disk.Store, name string, n int) (ids []store.ID) {
	t.Helper()
	create(t, r, name)
	for i := range n {
		res, err := r.Resolve(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		v, err := commit(t, r, st, repo.Commit{Head: res.Head, Kind: layers.Data, Tree: tree(uint32(i)), Message: "m"})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, v...)
	}
	return ids
}

func TestNames(t *testing.T) {
	r, _ := newRepo(t)
	for _, name := range []string{"debian-12", "ana/data", "A.b_c+d:e,f", strings.Repeat("n", 255), "."} {
		create(t, r, name)
		if _, err := r.Create(t.Context(), name); !errors.Is(err, store.ErrExist) {
			t.Errorf("%q twice: error %v, want ErrExist", name, err)
		}
	}
	for _, name := range []string{"", "/a", "a/", "a//b", "..", "a/../b", "a b", "a@b", "ä", "\xff", "a\x00", strings.Repeat("n", 256)} {
		if _, err := r.Create(t.Context(), name); err == nil || !strings.Contains(err.Error(), "layer name") {
			t.Errorf("%q: error %v, want one about the name", name, err)
		}
	}
}

func TestCommitMakesAVersion(t *testing.T) {
	r, st := newRepo(t)
	ids := history(t, r, st, "a", 2)
	res, err := r.Resolve(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	v := res.Version
	if res.ID != ids[1] || res.Head.Version != ids[1] || v.Layer != res.Head.Layer || v.Kind != layers.Data || v.Device != "laptop" ||
		v.Message != "m" || v.Time.IsZero() || !slices.Equal(v.Parents, ids[:1]) || v.Tree.Files != 1 {
		t.Errorf("resolved to %+v", res)
	}
	for ref, uid := range map[string]uint32{"a": 1, "a@" + ids[0].String(): 0, "a@" + ids[0].Short(): 0, "a@" + strings.ToUpper(ids[1].String()[:20]): 1} {
		got, err := r.Tree(t.Context(), ref)
		if err != nil || len(got) != 1 || got[0].UID != uid {
			t.Errorf("%s: tree %v, error %v; want user %d", ref, got, err, uid)
		}
	}
}

func TestCommitOfTheSameMakesNoVersion(t *testing.T) {
	r, st := newRepo(t)
	ids := history(t, r, st, "a", 2)
	head, err := st.Heads().Lookup(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	same := repo.Commit{Head: head, Kind: layers.Data, Tree: tree(1)}
	if got, err := commit(t, r, st, same); err != nil || got[0] != ids[1] {
		t.Errorf("same again: version %v, error %v; want %v", got, err, ids[1])
	}
	for name, change := range map[string]func(*repo.Commit){
		"base":    func(c *repo.Commit) { c.Base = tree(5) },
		"kind":    func(c *repo.Commit) { c.Kind = layers.System },
		"parents": func(c *repo.Commit) { c.Parents = ids },
	} {
		head, err := st.Heads().Lookup(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		c := same
		c.Head = head
		change(&c)
		if got, err := commit(t, r, st, c); err != nil || got[0] == head.Version {
			t.Errorf("another %s: version %v, error %v; want a new one", name, got, err)
		}
	}
}

func TestHeadsMoveTogetherOrNotAtAll(t *testing.T) {
	r, st := newRepo(t)
	a, b := create(t, r, "a"), create(t, r, "b")
	both := []repo.Commit{{Head: a, Kind: layers.Data, Tree: tree(1)}, {Head: b, Kind: layers.System, Tree: tree(2)}}
	ids, err := commit(t, r, st, both...)
	if err != nil || len(ids) != 2 {
		t.Fatalf("versions %v, error %v", ids, err)
	}
	c := create(t, r, "c")
	stale := []repo.Commit{{Head: c, Kind: layers.Data, Tree: tree(3)}, {Head: b, Kind: layers.System, Tree: tree(4)}}
	if _, err := commit(t, r, st, stale...); !errors.Is(err, store.ErrMoved) {
		t.Errorf("error %v, want ErrMoved", err)
	}
	for name, want := range map[string]store.ID{"a": ids[0], "b": ids[1], "c": {}} {
		if h, err := st.Heads().Lookup(t.Context(), name); err != nil || h.Version != want {
			t.Errorf("head of %s is %v, error %v; want %v", name, h.Version, err, want)
		}
	}
	bad := repo.Commit{Head: c, Kind: layers.Data, Tree: layers.Tree{{Path: "../x", Type: layers.Fifo}}}
	if _, err := commit(t, r, st, bad); err == nil || !strings.Contains(err.Error(), `layer "c"`) {
		t.Errorf("impossible tree: error %v, want one that names the layer", err)
	}
}

// TestOneLayerTwiceIsRefused commits two trees of one layer, of which the second
// would silently undo the first.
func TestOneLayerTwiceIsRefused(t *testing.T) {
	r, st := newRepo(t)
	a := create(t, r, "a")
	twice := []repo.Commit{{Head: a, Kind: layers.Data, Tree: tree(1)}, {Head: a, Kind: layers.Data, Tree: tree(2)}}
	if _, err := commit(t, r, st, twice...); !errors.Is(err, store.ErrMoved) {
		t.Errorf("error %v, want ErrMoved", err)
	}
	if h, err := st.Heads().Lookup(t.Context(), "a"); err != nil || h != a {
		t.Errorf("head %+v, error %v; want %+v", h, err, a)
	}
}

// TestRollbackOfAMerge keeps both branches in the history.
func TestRollbackOfAMerge(t *testing.T) {
	r, st := newRepo(t)
	ids := history(t, r, st, "a", 3)
	head, err := st.Heads().Lookup(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	merged, err := commit(t, r, st, repo.Commit{Head: head, Kind: layers.Data, Tree: tree(9), Parents: []store.ID{ids[2], ids[0]}})
	if err != nil {
		t.Fatal(err)
	}
	back, err := r.Rollback(t.Context(), "a", ids[1].String())
	if err != nil {
		t.Fatal(err)
	}
	head.Version = back
	seen := map[store.ID]int{}
	for e, err := range r.Log(t.Context(), head) {
		if err != nil {
			t.Fatal(err)
		}
		seen[e.ID]++
	}
	for _, id := range append(ids, merged[0], back) {
		if seen[id] != 1 {
			t.Errorf("version %s is %d times in the history", id.Short(), seen[id])
		}
	}
	if got, err := r.Tree(t.Context(), "a"); err != nil || len(got) != 1 || got[0].UID != 1 {
		t.Errorf("after the rollback: %+v, %v", got, err)
	}
}

func TestReferencesThatFail(t *testing.T) {
	r, st := newRepo(t)
	ids := history(t, r, st, "a", 1)
	for ref, want := range map[string]string{
		"none": "does not exist", "a@ffffffffff": "does not exist", "a@" + ids[0].String()[:5]: "hexadecimal", "a@": "hexadecimal",
		"a@xyzxyz": "hexadecimal", "a@" + ids[0].String() + "0": "hexadecimal", "@" + ids[0].String(): "empty",
	} {
		if _, err := r.Resolve(t.Context(), ref); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one that says %q", ref, err, want)
		}
	}
	create(t, r, "new")
	if res, err := r.Resolve(t.Context(), "new"); err != nil || !res.ID.IsZero() {
		t.Errorf("layer without version: %v, error %v", res, err)
	}
	if got, err := r.Tree(t.Context(), "new"); err != nil || len(got) != 0 {
		t.Errorf("layer without version: tree %v, error %v", got, err)
	}
}

func TestLogFollowsAllParentsOnce(t *testing.T) {
	r, st := newRepo(t)
	ids := history(t, r, st, "a", 3)
	head, err := st.Heads().Lookup(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	merged, err := commit(t, r, st, repo.Commit{Head: head, Kind: layers.Data, Tree: tree(9), Parents: []store.ID{ids[2], ids[1], ids[0]}})
	if err != nil {
		t.Fatal(err)
	}
	head.Version = merged[0]
	var got []store.ID
	for e, err := range r.Log(t.Context(), head) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e.ID)
	}
	if want := []store.ID{merged[0], ids[2], ids[1], ids[0]}; !slices.Equal(got, want) {
		t.Errorf("log %v, want %v", got, want)
	}
	head.Version = store.ID{1}
	for _, err := range r.Log(t.Context(), head) {
		if !errors.Is(err, store.ErrNotExist) {
			t.Errorf("error %v, want ErrNotExist", err)
		}
	}
}

func TestRollbackAddsToHistory(t *testing.T) {
	r, st := newRepo(t)
	ids := history(t, r, st, "a", 3)
	id, err := r.Rollback(t.Context(), "a", ids[0].Short())
	if err != nil {
		t.Fatal(err)
	}
	res, err := r.Resolve(t.Context(), "a")
	if err != nil || res.ID != id || !slices.Equal(res.Version.Parents, ids[2:]) {
		t.Fatalf("head %v, error %v; want %v after %v", res, err, id, ids[2])
	}
	if got, err := r.Tree(t.Context(), "a"); err != nil || got[0].UID != 0 {
		t.Errorf("tree %v, error %v; want the first", got, err)
	}
	if again, err := r.Rollback(t.Context(), "a", id.Short()); err != nil || again != id {
		t.Errorf("back to the head: %v, error %v; want %v", again, err, id)
	}
	if _, err := r.Rollback(t.Context(), "a", "ffffffffff"); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("error %v, want ErrNotExist", err)
	}
}

func TestLayers(t *testing.T) {
	r, st := newRepo(t)
	create(t, r, "z")
	ids := history(t, r, st, "a", 3)
	got, err := r.Layers(t.Context())
	if err != nil || len(got) != 2 {
		t.Fatalf("layers %v, error %v", got, err)
	}
	a, z := got[0], got[1]
	if a.Name != "a" || a.Kind != layers.Data || a.Version != ids[2] || a.Versions != 3 || a.Files != 1 || a.Entries != 1 || a.Time.IsZero() {
		t.Errorf("layer %+v", a)
	}
	if z.Name != "z" || z.Kind != "" || z.Versions != 0 || !z.Version.IsZero() {
		t.Errorf("layer %+v", z)
	}
}

// TestGarbageCollectionKeepsHistory removes what no version reaches, and only
// that.
func TestGarbageCollectionKeepsHistory(t *testing.T) {
	r, st := newRepo(t)
	ids := history(t, r, st, "a", 3)
	if _, err := st.GC(t.Context(), r.Walker()); err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		if _, err := r.Tree(t.Context(), "a@"+id.String()); err != nil {
			t.Error(err)
		}
	}
}

func TestRename(t *testing.T) {
	r, st := newRepo(t)
	ids := history(t, r, st, "a", 1)
	create(t, r, "b")
	if err := r.Rename(t.Context(), "a", "b"); !errors.Is(err, store.ErrExist) {
		t.Errorf("to a name that is taken: %v, want ErrExist", err)
	}
	if err := r.Rename(t.Context(), "none", "c"); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("of nothing: %v, want ErrNotExist", err)
	}
	if err := r.Rename(t.Context(), "a", "no such name"); err == nil || !strings.Contains(err.Error(), "layer name") {
		t.Errorf("to an impossible name: %v", err)
	}
	if err := r.Rename(t.Context(), "a", "ana/a"); err != nil {
		t.Fatal(err)
	}
	if res, err := r.Resolve(t.Context(), "ana/a"); err != nil || res.ID != ids[0] {
		t.Errorf("under its new name: %v, %v", res.ID.Short(), err)
	}
	if _, err := r.Resolve(t.Context(), "a"); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("under its old name: %v, want ErrNotExist", err)
	}
}

// TestPartialVersions has a history of which the trees of some versions were
// never fetched.
func TestPartialVersions(t *testing.T) {
	r, st := newRepo(t)
	head := create(t, r, "ana/data")
	old, err := commitPartial(t, st, head)
	if err != nil {
		t.Fatal(err)
	}
	ref := "ana/data@" + old.Short()
	want := "version " + old.Short() + " of layer ana/data is not on this device: fetch it first: satchel fetch " + ref
	res, err := r.Resolve(t.Context(), ref)
	if !errors.Is(err, repo.ErrPartial) || err.Error() != want || res.ID != old || res.Version.Message != "old" {
		t.Errorf("resolve: %+v, error %v, want %s", res, err, want)
	}
	if _, err := r.Tree(t.Context(), ref); !errors.Is(err, repo.ErrPartial) {
		t.Errorf("tree: error %v, want ErrPartial", err)
	}
	if _, err := r.Rollback(t.Context(), "ana/data", old.Short()); !errors.Is(err, repo.ErrPartial) {
		t.Errorf("roll back: error %v, want ErrPartial", err)
	}
	if got, err := r.Tree(t.Context(), "ana/data"); err != nil || len(got) != 1 {
		t.Errorf("tree of the head: %v, %v", got, err)
	}
	if head, err = st.Heads().Lookup(t.Context(), "ana/data"); err != nil {
		t.Fatal(err)
	}
	for e, err := range r.Log(t.Context(), head) {
		if err != nil || e.Partial != (e.ID == old) {
			t.Errorf("log: version %s partial %v, error %v", e.ID.Short(), e.Partial, err)
		}
	}
	if infos, err := r.Layers(t.Context()); err != nil || infos[0].Versions != 2 || infos[0].Partial != 1 {
		t.Errorf("layers %+v, error %v", infos, err)
	}
	for range 2 {
		if _, err := st.GC(t.Context(), r.Walker()); err != nil {
			t.Error(err)
		}
	}
	if res, err := st.Verify(t.Context(), r.Walker(), nil); err != nil || !res.OK() {
		t.Errorf("verify: %v, %v", err, res.Err())
	}
	if err := st.Heads().Complete(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	if res, err := st.Verify(t.Context(), r.Walker(), nil); err == nil && res.OK() {
		t.Error("nothing is missed of a version that should be complete")
	}
}

// commitPartial gives a layer two versions and only the record of the first,
// which it returns.
func commitPartial(t *testing.T, st *disk.Store, head store.Head) (store.ID, error) {
	t.Helper()
	w, err := st.Begin(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	missing := layers.Root{ID: store.ID{1}, Entries: 2}
	v := layers.Version{Layer: head.Layer, Kind: layers.Data, Time: time.Unix(1, 0), Message: "old", Tree: missing}
	old, err := manifest.WriteVersion(t.Context(), w, v)
	if err != nil {
		return old, err
	}
	v = layers.Version{Layer: head.Layer, Kind: layers.Data, Time: time.Unix(2, 0), Parents: []store.ID{old}}
	last, err := manifest.Write(t.Context(), w, v, tree(1), nil)
	if err == nil {
		err = w.Flush(t.Context())
	}
	if err == nil {
		err = st.Heads().CompareAndSwap(t.Context(), store.Move{Layer: head.Layer, To: last, Partial: []store.ID{old}})
	}
	return old, err
}
