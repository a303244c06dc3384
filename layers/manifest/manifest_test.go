package manifest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"satchel/layers"
	"satchel/layers/layerstest"
	"satchel/layers/manifest"
	"satchel/store"
)

func writeTree(t testing.TB, st *layerstest.Store, tree layers.Tree) layers.Root {
	t.Helper()
	root, err := manifest.WriteTree(t.Context(), st, tree)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func sameTrees(t rapidOrTesting, want, got layers.Tree) {
	t.Helper()
	if slices.EqualFunc(want, got, func(a, b layers.Entry) bool { return a.Path == b.Path && a.Same(&b) }) {
		return // much sooner than the comparison below
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("trees differ (-want +got):\n%s", diff)
	}
}

type rapidOrTesting interface {
	Helper()
	Fatalf(string, ...any)
}

// files returns a tree of n files in directories of a hundred.
func files(n int) layers.Tree {
	tree := layers.Tree{{Type: layers.Dir, Mode: 0o755}}
	for i := range n {
		if i%100 == 0 {
			tree = append(tree, layers.Entry{Path: fmt.Sprintf("usr/share/d%05d", i/100), Type: layers.Dir, Mode: 0o755})
		}
		tree = append(tree, layers.Entry{
			Path: fmt.Sprintf("usr/share/d%05d/file%02d", i/100, i%100), Type: layers.Regular, Mode: 0o644,
			Size: int64(i + 1), Extents: []layers.Extent{{ID: store.ID{1, byte(i), byte(i >> 8)}, Len: int64(i + 1)}},
		})
	}
	return tree
}

func TestTreesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		st := layerstest.NewStore()
		want := layerstest.RandomTree(40).Draw(t, "tree")
		root, err := manifest.WriteTree(context.Background(), st, want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := manifest.ReadTree(context.Background(), st, root)
		if err != nil {
			t.Fatal(err)
		}
		sameTrees(t, want, got)
		again, err := manifest.WriteTree(context.Background(), layerstest.NewStore(), got)
		if err != nil || again != root {
			t.Fatalf("written again: root %v, error %v; want %v", again, err, root)
		}
	})
}

func TestRootCounts(t *testing.T) {
	tree := append(files(1000), layers.Entry{Path: "z", Type: layers.Hardlink, Target: "usr/share/d00000/file00"})
	got := writeTree(t, layerstest.NewStore(), tree)
	got.ID = store.ID{}
	want := layers.Root{Entries: 1 + 10 + 1000 + 1, Files: 1000, Bytes: 1000 * 1001 / 2}
	if got != want {
		t.Errorf("root %+v, want %+v", got, want)
	}
	if got := writeTree(t, layerstest.NewStore(), nil); got != (layers.Root{}) {
		t.Errorf("root of the empty tree %+v, want none", got)
	}
}

func TestWhatATypeDoesNotCarryIsNotStored(t *testing.T) {
	st := layerstest.NewStore()
	plain := layers.Tree{{Path: "a", Type: layers.Fifo}, {Path: "b", Type: layers.Hardlink, Target: "a"}, {Path: "c", Type: layers.Whiteout}}
	loud := slices.Clone(plain)
	for i := range loud[1:] {
		e := &loud[1+i]
		e.Mode, e.UID, e.ModTime, e.Major = 0o644, 7, layers.Time{Sec: 1}, 8
		e.Xattrs = []layers.Xattr{{Name: "user.x"}}
	}
	if a, b := writeTree(t, st, plain), writeTree(t, st, loud); a != b {
		t.Errorf("roots %v and %v, want them equal", a, b)
	}
}

func TestXattrsAreStoredInOrder(t *testing.T) {
	st := layerstest.NewStore()
	a, b := layers.Xattr{Name: "user.a", Value: []byte("1")}, layers.Xattr{Name: "user.b", Value: []byte{}}
	root := writeTree(t, st, layers.Tree{{Path: "f", Type: layers.Fifo, Xattrs: []layers.Xattr{b, a}}})
	got, err := manifest.ReadTree(t.Context(), st, root)
	if err != nil || !reflect.DeepEqual(got[0].Xattrs, []layers.Xattr{a, b}) {
		t.Errorf("read %+v, error %v", got, err)
	}
}

func TestWriteRefuses(t *testing.T) {
	long := strings.Repeat("x", 1<<16+1)
	for name, e := range map[string]layers.Entry{
		"mode":             {Type: layers.Dir, Mode: 0o10000},
		"nanoseconds":      {Type: layers.Dir, ModTime: layers.Time{Nsec: 1e9}},
		"target":           {Path: "l", Type: layers.Symlink, Target: long},
		"target with NUL":  {Path: "l", Type: layers.Symlink, Target: "a\x00"},
		"large chunk":      {Path: "f", Type: layers.Regular, Size: store.MaxChunk + 1, Extents: []layers.Extent{{ID: store.ID{1}, Len: store.MaxChunk + 1}}},
		"attribute twice":  {Type: layers.Dir, Xattrs: []layers.Xattr{{Name: "user.a"}, {Name: "user.a"}}},
		"attribute name":   {Type: layers.Dir, Xattrs: []layers.Xattr{{Name: ""}}},
		"attribute value":  {Type: layers.Dir, Xattrs: []layers.Xattr{{Name: "user.a", Value: []byte(long)}}},
		"path":             {Path: "../x", Type: layers.Dir},
		"root not dir":     {Type: layers.Regular},
		"dangling":         {Path: "h", Type: layers.Hardlink, Target: "nowhere"},
		"size and extents": {Path: "f", Type: layers.Regular, Size: 1},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := manifest.WriteTree(t.Context(), layerstest.NewStore(), layers.Tree{e})
			var perr *layers.PathError
			if !errors.As(err, &perr) {
				t.Errorf("error %v, want a PathError", err)
			}
		})
	}
}

func TestEditSharesNodes(t *testing.T) {
	st := layerstest.NewStore()
	a := files(20_000)
	writeTree(t, st, a)
	before := len(st.IDs())
	b := slices.Clone(a)
	b[10_000].Mode = 0o600
	b = slices.Delete(b, 5_000, 5_001)
	b = slices.Insert(b, 15_000, layers.Entry{Path: b[15_000-1].Path + "x", Type: layers.Fifo})
	writeTree(t, st, b)
	if before < 100 {
		t.Errorf("%d nodes, want more than 100", before)
	}
	if added := len(st.IDs()) - before; added > 12 {
		t.Errorf("an edit of three entries added %d nodes of %d", added, before)
	}
}

func TestLargeFileSharesLists(t *testing.T) {
	st := layerstest.NewStore()
	big := func(edit int) layers.Tree {
		e := layers.Entry{Path: "disk.img", Type: layers.Regular}
		for i := range 200_000 {
			x := layers.Extent{ID: st.Domain().ID([]byte{byte(i), byte(i >> 8), byte(i >> 16), 0}), Len: store.MaxChunk}
			if i == edit {
				x = layers.Extent{Len: 1 << 50}
			}
			e.Extents = append(e.Extents, x)
			e.Size += x.Len
		}
		return layers.Tree{e}
	}
	a, b := big(-1), big(77_777)
	ra := writeTree(t, st, a)
	before := len(st.IDs())
	rb := writeTree(t, st, b)
	if added := len(st.IDs()) - before; added > 6 {
		t.Errorf("an edit in the middle added %d chunks of %d", added, before)
	}
	got, err := manifest.ReadTree(t.Context(), st, rb)
	if err != nil {
		t.Fatal(err)
	}
	if !got[0].Same(&b[0]) {
		t.Error("read another file than was written")
	}
	changes := 0
	for c, err := range manifest.Diff(t.Context(), st, ra, rb) {
		if err != nil || !c.From.Same(&a[0]) || !c.To.Same(&b[0]) {
			t.Fatalf("change of %q, error %v", c.Path, err)
		}
		changes++
	}
	if changes != 1 {
		t.Errorf("%d changes, want 1", changes)
	}
}

func TestLongPathsMakeSmallNodes(t *testing.T) {
	st := layerstest.NewStore()
	deep := strings.Repeat(strings.Repeat("d", 99)+"/", 600)
	var want layers.Tree
	for i := range 200 {
		want = append(want, layers.Entry{Path: fmt.Sprintf("%s%03d", deep, i), Type: layers.Fifo})
	}
	got, err := manifest.ReadTree(t.Context(), st, writeTree(t, st, want))
	if err != nil {
		t.Fatal(err)
	}
	sameTrees(t, want, got)
}

func TestVersionRoundTrip(t *testing.T) {
	st := layerstest.NewStore()
	tree := files(10)
	want := layers.Version{
		Layer: store.LayerID{1, 2}, Kind: layers.Personal, Parents: []store.ID{{3}, {4}},
		Time: time.Date(2024, 2, 29, 12, 0, 0, 123_456_789, time.UTC), Device: "laptop", Message: "ünïcode\n",
		Tree: writeTree(t, st, tree), Base: writeTree(t, st, tree[:1]),
	}
	id, err := manifest.Write(t.Context(), st, layers.Version{
		Layer: want.Layer, Kind: want.Kind, Parents: want.Parents, Time: want.Time.Local(), Device: want.Device, Message: want.Message,
	}, tree, tree[:1])
	if err != nil {
		t.Fatal(err)
	}
	got, err := manifest.ReadVersion(t.Context(), st, id)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("versions differ (-want +got):\n%s", diff)
	}
	for name, v := range map[string]layers.Version{
		"kind":    {Kind: "odd"},
		"parents": {Kind: layers.OS, Parents: make([]store.ID, 257)},
		"device":  {Kind: layers.OS, Device: strings.Repeat("x", 256)},
		"message": {Kind: layers.OS, Message: strings.Repeat("x", 1<<16+1)},
		"time":    {Kind: layers.OS, Time: time.Unix(1<<40, 0)},
	} {
		if _, err := manifest.WriteVersion(t.Context(), st, v); err == nil {
			t.Errorf("version with wrong %s was written", name)
		}
	}
}

func TestReadReports(t *testing.T) {
	st := layerstest.NewStore()
	put := func(b string) store.ID {
		ids, err := st.Put(t.Context(), []byte(b))
		if err != nil {
			t.Fatal(err)
		}
		return ids[0]
	}
	root := writeTree(t, st, files(3))
	for name, c := range map[string]struct {
		id   store.ID
		want error
	}{
		"absent":       {store.ID{9}, store.ErrNotExist},
		"other data":   {put("hello, world"), store.ErrCorrupt},
		"short":        {put("\x89SL"), store.ErrCorrupt},
		"newer":        {put("\x89SLMV\x03rest"), store.ErrNewer},
		"version zero": {put("\x89SLMV\x00rest"), store.ErrCorrupt},
		"a node":       {root.ID, store.ErrCorrupt},
	} {
		if _, err := manifest.ReadVersion(t.Context(), st, c.id); !errors.Is(err, c.want) {
			t.Errorf("%s: error %v, want %v", name, err, c.want)
		}
	}
	root.Entries++
	if _, err := manifest.ReadTree(t.Context(), st, root); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("wrong number of entries: error %v", err)
	}
}

// TestDamage flips each bit of a node in turn: a reader reports damage, misses a node or reads
// a tree that keeps the rules.
func TestDamage(t *testing.T) {
	st := layerstest.NewStore()
	root := writeTree(t, st, files(40))
	good, err := st.Get(t.Context(), root.ID)
	if err != nil {
		t.Fatal(err)
	}
	for i := range len(good) * 8 {
		bad := slices.Clone(good)
		bad[i/8] ^= 1 << (i % 8)
		ids, err := st.Put(t.Context(), bad)
		if err != nil {
			t.Fatal(err)
		}
		tree, err := manifest.ReadTree(t.Context(), st, layers.Root{ID: ids[0], Entries: root.Entries})
		if err == nil {
			err = tree.Check()
		}
		if err != nil && !errors.Is(err, store.ErrCorrupt) && !errors.Is(err, store.ErrNewer) && !errors.Is(err, store.ErrNotExist) {
			t.Fatalf("bit %d: %v", i, err)
		}
	}
}

// TestGolden holds the format still: these IDs are those of the bytes in
// testdata, which docs/format/manifest.md explains.
func TestGolden(t *testing.T) {
	st := layerstest.NewStore()
	tree := layers.Tree{
		{Type: layers.Dir, Mode: 0o755, ModTime: layers.Time{Sec: 1_700_000_000}},
		{Path: "bin", Type: layers.Symlink, Mode: 0o777, Target: "usr/bin"},
		{Path: "dev/null", Type: layers.CharDev, Mode: 0o666, Major: 1, Minor: 3},
		{Path: "gone", Type: layers.Whiteout},
		{Path: "home/ana", Type: layers.Dir, Opaque: true, Mode: 0o1750, UID: 1000, GID: 1000, ModTime: layers.Time{Sec: -1, Nsec: 5}},
		{Path: "home/ana/disk", Type: layers.Regular, Mode: 0o600, Size: 3 << 20, Extents: []layers.Extent{{Len: 1 << 20}, {ID: store.ID{1, 2, 3}, Len: 2 << 20}}},
		{Path: "home/ana/disk2", Type: layers.Hardlink, Target: "home/ana/disk"},
		{Path: "usr/bin/ping", Type: layers.Regular, Mode: 0o755, Xattrs: []layers.Xattr{{Name: "security.capability", Value: []byte{1, 0, 0, 2}}}},
	}
	var many layers.Entry
	many.Path, many.Type = "many", layers.Regular
	for i := range 33 {
		many.Extents = append(many.Extents, layers.Extent{ID: store.ID{byte(i + 1)}, Len: 1})
		many.Size++
	}
	tree = slices.Insert(tree, 7, many)
	v := layers.Version{
		Layer: store.LayerID{0xaa}, Kind: layers.Data, Parents: []store.ID{{0xbb}},
		Time: time.Unix(1_700_000_000, 1), Device: "d", Message: "m",
	}
	if _, err := manifest.Write(t.Context(), st, v, tree, nil); err != nil {
		t.Fatal(err)
	}
	names := map[byte]string{'V': "version", 'N': "node", 'X': "list"}
	for _, id := range st.IDs() {
		got, err := st.Get(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		golden(t, names[got[4]]+".v1", got)
	}
	v.Kind, v.Form, v.On = layers.System, layers.Disk, store.ID{0xcc}
	disk := layers.Tree{{Path: layers.DiskPath, Type: layers.Regular, Mode: 0o600, Size: 1 << 20, Extents: []layers.Extent{{Len: 1 << 20}}}}
	id, err := manifest.Write(t.Context(), st, v, disk, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := st.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "version-disk.v2", got)
	if back, err := manifest.ReadVersion(t.Context(), st, id); err != nil || back.Form != layers.Disk || back.On != v.On {
		t.Errorf("reads back as %+v, error %v", back, err)
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	name = filepath.Join("testdata", name)
	if os.Getenv("SATCHEL_GOLDEN") != "" {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s: wrote\n%x\nwant\n%x", name, got, want)
	}
}

// TestFormsOfVersions: only os and system layers have disks, and those of
// system layers say what they lie on.
func TestFormsOfVersions(t *testing.T) {
	on := store.ID{1}
	for _, c := range []struct {
		kind layers.Kind
		form layers.Form
		on   store.ID
		ok   bool
	}{
		{layers.OS, layers.Files, store.ID{}, true},
		{layers.OS, layers.Disk, store.ID{}, true},
		{layers.System, layers.Disk, on, true},
		{layers.OS, layers.Disk, on, false},
		{layers.System, layers.Disk, store.ID{}, false},
		{layers.System, layers.Files, on, false},
		{layers.Data, layers.Disk, on, false},
		{layers.Group, layers.Disk, store.ID{}, false},
		{layers.OS, "floppy", store.ID{}, false},
	} {
		st := layerstest.NewStore()
		v := layers.Version{Kind: c.kind, Form: c.form, On: c.on, Time: time.Unix(1, 0)}
		if _, err := manifest.Write(t.Context(), st, v, nil, nil); (err == nil) != c.ok {
			t.Errorf("%s %q on %s: error %v", c.kind, c.form, c.on.Short(), err)
		}
	}
}

// TestVerifyRefusesWhatIsNoDisk: a server must not hand out a disk that has two
// files, or none.
func TestVerifyRefusesWhatIsNoDisk(t *testing.T) {
	file := func(path string, size int64) layers.Entry {
		return layers.Entry{Path: path, Type: layers.Regular, Size: size, Extents: []layers.Extent{{Len: size}}}
	}
	for name, tree := range map[string]layers.Tree{
		"nothing":     nil,
		"two files":   {file("a", 512), file(layers.DiskPath, 512)},
		"other name":  {file("a", 512)},
		"half sector": {file(layers.DiskPath, 700)},
	} {
		st := layerstest.NewStore()
		v := layers.Version{Kind: layers.OS, Form: layers.Disk, Time: time.Unix(1, 0)}
		id, err := manifest.Write(t.Context(), st, v, tree, nil)
		if err != nil {
			t.Fatal(err)
		}
		err = manifest.Verify(t.Context(), st, id, func(store.ID) bool { return false }, func([]store.ID) error { return nil })
		if !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}
