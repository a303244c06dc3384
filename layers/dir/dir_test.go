package dir_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"satchel/layers"
	"satchel/layers/dir"
	"satchel/layers/ingest"
	"satchel/layers/layerstest"
	"satchel/store"
	"satchel/store/disk"
)

func newStore(t testing.TB) *disk.Store {
	t.Helper()
	st, err := disk.Create(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

// importDir imports a directory into a store and flushes.
func importDir(t testing.TB, st *disk.Store, root string, opt dir.Options) (layers.Tree, []layers.Note) {
	t.Helper()
	w, err := st.Begin(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	tree, notes, err := dir.Import(t.Context(), root, ingest.New(t.Context(), w, st.Domain()), opt)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	return tree, notes
}

func export(t testing.TB, st store.Getter, tree layers.Tree, opt dir.ExportOptions) string {
	t.Helper()
	dest := filepath.Join(t.TempDir(), "out")
	notes, err := dir.Export(t.Context(), tree, st, dest, opt)
	if err != nil {
		t.Fatal(err)
	}
	if len(notes) > 0 {
		t.Fatalf("left out: %v", notes)
	}
	return dest
}

func TestHostileTreeSurvives(t *testing.T) {
	src := t.TempDir()
	layerstest.Hostile(t, src, false)
	layerstest.SameDirs(t, src, roundTrip(t, src))
}

// TestBigTreeSurvives has rsync read 10 GiB, nearly all of it holes, only if
// SATCHEL_BIG is set; else chunks tell whether contents are the same.
func TestBigTreeSurvives(t *testing.T) {
	if testing.Short() {
		t.Skip("100,000 files take their time")
	}
	src := t.TempDir()
	layerstest.Hostile(t, src, true)
	dest := roundTrip(t, src)
	if os.Getenv("SATCHEL_BIG") != "" {
		layerstest.SameDirs(t, src, dest)
	} else {
		layerstest.SameFacts(t, src, dest)
	}
}

// roundTrip imports and exports a directory, and imports what it exported to
// see that it is the same.
func roundTrip(t *testing.T, src string) (dest string) {
	t.Helper()
	st := newStore(t)
	tree, notes := importDir(t, st, src, dir.Options{})
	if len(notes) > 0 {
		t.Errorf("notes %v, want none", notes)
	}
	dest = export(t, st, tree, dir.ExportOptions{Strict: true})
	for _, name := range []string{"sparse/middle", "sparse/all hole", "sparse/many"} {
		if a, b := blocks(t, src+"/"+name), blocks(t, dest+"/"+name); b > a {
			t.Errorf("%s takes %d blocks, want %d", name, b, a)
		}
	}
	again, _ := importDir(t, st, dest, dir.Options{})
	for i := range tree {
		if tree[i].Path != again[i].Path || !tree[i].Same(&again[i]) {
			t.Fatalf("imported again: %+v\nwant %+v", again[i], tree[i])
		}
	}
	return dest
}

func blocks(t testing.TB, p string) int64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(p, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks
}

// TestPathsLongerThanTheKernelTakes goes 150 directories of 100 bytes down.
func TestPathsLongerThanTheKernelTakes(t *testing.T) {
	name := strings.Repeat("d", 100)
	path := strings.TrimPrefix(strings.Repeat("/"+name, 150), "/")
	want := layers.Tree{{Type: layers.Dir, Mode: 0o755}}
	for end := len(name); end <= len(path); end += len(name) + 1 {
		want = append(want, layers.Entry{Path: path[:end], Type: layers.Dir, Mode: 0o755, ModTime: layers.Time{Sec: int64(end)}})
	}
	want = append(want,
		layers.Entry{Path: path + "/x", Type: layers.Symlink, Mode: 0o777, Target: "y"},
		layers.Entry{Path: path + "/z", Type: layers.Hardlink, Target: path + "/x"})
	for i := range want {
		want[i].UID, want[i].GID = uint32(os.Getuid()), uint32(os.Getgid())
	}
	want[len(want)-1].UID, want[len(want)-1].GID = 0, 0
	st := newStore(t)
	dest := export(t, st, want, dir.ExportOptions{Strict: true})
	got, _ := importDir(t, st, dest, dir.Options{})
	if len(got) != len(want) {
		t.Fatalf("%d entries, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i].Path != want[i].Path || !got[i].SameContent(&want[i]) || got[i].ModTime != want[i].ModTime && want[i].Type == layers.Dir {
			t.Fatalf("entry %d differs: %+v\nwant %+v", i, got[i], want[i])
		}
	}
}

func TestImportNotesSockets(t *testing.T) {
	src := t.TempDir()
	l, err := net.Listen("unix", src+"/socket")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	tree, notes := importDir(t, newStore(t), src, dir.Options{})
	if len(tree) != 1 || len(notes) != 1 || notes[0].Path != "socket" {
		t.Errorf("tree %v, notes %v; want only the root, and a note", tree, notes)
	}
}

func TestImportExcludes(t *testing.T) {
	src := t.TempDir()
	if err := os.MkdirAll(src+"/a/b/c", 0o755); err != nil {
		t.Fatal(err)
	}
	tree, _ := importDir(t, newStore(t), src, dir.Options{Exclude: func(p string) bool { return p == "a/b" }})
	if len(tree) != 2 || tree[1].Path != "a" {
		t.Errorf("tree %v, want root and a", tree)
	}
}

func TestImportReportsWhatIsMissing(t *testing.T) {
	st := layerstest.NewStore()
	pl := ingest.New(t.Context(), st, st.Domain())
	if _, _, err := dir.Import(t.Context(), t.TempDir()+"/none", pl, dir.Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v, want ErrNotExist", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	src := t.TempDir()
	if err := os.WriteFile(src+"/f", []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := dir.Import(ctx, src, ingest.New(ctx, st, st.Domain()), dir.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want Canceled", err)
	}
}

func TestOverlayUpperSurvives(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root may make whiteouts")
	}
	want := layers.Tree{
		{Type: layers.Dir, Mode: 0o755},
		{Path: "d", Type: layers.Dir, Mode: 0o700, Opaque: true},
		{Path: "d/gone", Type: layers.Whiteout},
		{Path: "gone", Type: layers.Whiteout},
	}
	st := newStore(t)
	dest := export(t, st, want, dir.ExportOptions{Strict: true, Overlay: true})
	if err := os.Link(dest+"/gone", dest+"/gone too"); err != nil { // as overlayfs does
		t.Fatal(err)
	}
	want = append(want, layers.Entry{Path: "gone too", Type: layers.Whiteout})
	got, _ := importDir(t, st, dest, dir.Options{Overlay: true})
	if len(got) != len(want) {
		t.Fatalf("tree %v, want %v", got, want)
	}
	for i := range want {
		if got[i].Path != want[i].Path || !got[i].SameContent(&want[i]) {
			t.Errorf("entry %+v, want %+v", got[i], want[i])
		}
	}
	notes, err := dir.Export(t.Context(), want, st, t.TempDir(), dir.ExportOptions{})
	if err != nil || len(notes) != 2 {
		t.Errorf("notes %v, error %v; want one for whiteouts and one for opaque directories", notes, err)
	}
	var nerr dir.NotesError
	if _, err := dir.Export(t.Context(), want, st, t.TempDir(), dir.ExportOptions{Strict: true}); !errors.As(err, &nerr) {
		t.Errorf("error %v, want a NotesError", err)
	}
}

func TestExportRefuses(t *testing.T) {
	st := layerstest.NewStore()
	outside := t.TempDir()
	full := t.TempDir()
	if err := os.WriteFile(full+"/f", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	file := layers.Entry{Path: "f", Type: layers.Regular, Size: 3, Extents: []layers.Extent{{ID: store.ID{1}, Len: 3}}}
	for name, c := range map[string]struct {
		dest string
		tree layers.Tree
		want string
	}{
		"full directory":  {full, nil, "not empty"},
		"missing parent":  {outside + "/a/b", nil, "no such file"},
		"missing chunk":   {t.TempDir(), layers.Tree{file}, "does not exist"},
		"path through":    {t.TempDir(), layers.Tree{{Path: "l", Type: layers.Symlink, Target: outside}, {Path: "l/x", Type: layers.Fifo}}, "l/x"},
		"path upwards":    {t.TempDir(), layers.Tree{{Path: "../x", Type: layers.Fifo}}, "not a clean relative path"},
		"same path twice": {t.TempDir(), layers.Tree{{Path: "a", Type: layers.Dir}, {Path: "a", Type: layers.Fifo}}, "out of order"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := dir.Export(t.Context(), c.tree, st, c.dest, dir.ExportOptions{})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one that says %q", err, c.want)
			}
		})
	}
	if names, _ := os.ReadDir(outside); len(names) > 0 {
		t.Errorf("export wrote %v outside its destination", names)
	}
}
