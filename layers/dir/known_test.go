package dir_test

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"satchel/layers"
	"satchel/layers/dir"
	"satchel/layers/ingest"
	"satchel/layers/layerstest"
	"satchel/store/disk"
)

// importKnown imports a directory as if nothing had changed for a minute, and
// tells how many files it read.
func importKnown(t *testing.T, st *disk.Store, root string, known *dir.Known) (layers.Tree, int64) {
	t.Helper()
	return importSince(t, st, root, known, time.Now().Add(time.Minute))
}

func importSince(t *testing.T, st *disk.Store, root string, known *dir.Known, begun time.Time) (layers.Tree, int64) {
	t.Helper()
	w, err := st.Begin(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	pl := ingest.New(t.Context(), w, st.Domain())
	tree, _, err := dir.ImportAt(t.Context(), begun, root, pl, dir.Options{Known: known})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	files, _ := pl.Progress()
	return tree, files
}

func do(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// write makes a file, or changes it in place.
func write(t *testing.T, p, content string) {
	t.Helper()
	do(t, os.WriteFile(p, []byte(content), 0o644))
}

func setTime(t *testing.T, p string, sec int64) {
	t.Helper()
	do(t, os.Chtimes(p, time.Unix(sec, 0), time.Unix(sec, 0)))
}

// sparse makes a file of which only the last byte is not a hole.
func sparse(t *testing.T, p string) {
	t.Helper()
	f, err := os.Create(p)
	do(t, err)
	_, err = f.WriteAt([]byte{1}, 1<<20)
	do(t, err, f.Close())
}

// TestKnownFilesAreNotRead changes a directory in one way each, and wants the
// import that goes by what is known to find what any import would.
func TestKnownFilesAreNotRead(t *testing.T) {
	cases := []struct {
		name   string
		change func(t *testing.T, root string)
		read   int64 // files
		same   bool
	}{
		{"nothing", func(*testing.T, string) {}, 0, true},
		{"content of the same size and times", func(t *testing.T, root string) {
			write(t, root+"/a", "A")
			setTime(t, root+"/a", 1000)
		}, 1, false},
		{"mode", func(t *testing.T, root string) { do(t, os.Chmod(root+"/a", 0o600)) }, 1, false},
		{"mode of a directory", func(t *testing.T, root string) { do(t, os.Chmod(root+"/d", 0o700)) }, 0, false},
		{"another file of the same size and times", func(t *testing.T, root string) {
			write(t, root+"/new", "A")
			setTime(t, root+"/new", 1000)
			do(t, os.Rename(root+"/new", root+"/a"))
		}, 1, false},
		{"extended attribute", func(t *testing.T, root string) {
			if err := unix.Setxattr(root+"/a", "user.x", []byte("y"), 0); err != nil {
				t.Skip(err)
			}
		}, 1, false},
		{"a new file", func(t *testing.T, root string) { write(t, root+"/b", "b") }, 1, false},
		{"a file less", func(t *testing.T, root string) { do(t, os.Remove(root+"/d/f")) }, 0, false},
		{"a directory less", func(t *testing.T, root string) { do(t, os.RemoveAll(root+"/d")) }, 0, false},
		{"a file becomes a directory", func(t *testing.T, root string) {
			do(t, os.Remove(root+"/a"), os.Mkdir(root+"/a", 0o755))
			write(t, root+"/a/x", "x")
		}, 1, false},
		{"another link", func(t *testing.T, root string) { do(t, os.Link(root+"/a", root+"/d/link")) }, 1, false},
		{"the first link less", func(t *testing.T, root string) { do(t, os.Remove(root+"/l1")) }, 1, false},
		{"target of a symbolic link", func(t *testing.T, root string) {
			do(t, os.Remove(root+"/s"), os.Symlink("b", root+"/s"))
		}, 0, false},
		{"more of a sparse file", func(t *testing.T, root string) { do(t, os.Truncate(root+"/sparse", 2<<20)) }, 1, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			root, st, known := t.TempDir(), newStore(t), &dir.Known{}
			write(t, root+"/a", "a")
			setTime(t, root+"/a", 1000)
			do(t, os.Mkdir(root+"/d", 0o755), os.Symlink("a", root+"/s"))
			write(t, root+"/d/f", "f")
			write(t, root+"/l1", "linked")
			do(t, os.Link(root+"/l1", root+"/l2"))
			sparse(t, root+"/sparse")
			if _, read := importKnown(t, st, root, known); read != 4 || known.Same {
				t.Fatalf("the first import read %d files, same %v; want 4, false", read, known.Same)
			}
			c.change(t, root)
			got, read := importKnown(t, st, root, known)
			if read != c.read || known.Same != c.same {
				t.Errorf("read %d files, same %v; want %d, %v", read, known.Same, c.read, c.same)
			}
			want, _ := importDir(t, st, root, dir.Options{})
			sameTrees(t, got, want)
			if _, read := importKnown(t, st, root, known); read != 0 || !known.Same {
				t.Errorf("once more: read %d files, same %v; want 0, true", read, known.Same)
			}
		})
	}
}

func sameTrees(t *testing.T, got, want layers.Tree) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d entries, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i].Path != want[i].Path || !got[i].Same(&want[i]) {
			t.Errorf("got %+v\nwant %+v", got[i], want[i])
		}
	}
}

// TestRacyFilesAreRead has an import begin just after files were written: they
// may be written again within the same tick of the clock.
func TestRacyFilesAreRead(t *testing.T) {
	root, st, known := t.TempDir(), newStore(t), &dir.Known{}
	write(t, root+"/now", "now")
	write(t, root+"/past", "past")
	setTime(t, root+"/past", 1000) // but its change time is now
	for range 2 {
		if _, read := importSince(t, st, root, known, time.Now()); read != 2 || known.Same {
			t.Fatalf("read %d files, same %v; want 2, false", read, known.Same)
		}
	}
	setTime(t, root+"/past", time.Now().Add(time.Hour).Unix())
	for range 2 { // a modification time to come is one that a change may keep
		importKnown(t, st, root, known)
	}
	if _, read := importKnown(t, st, root, known); read != 1 {
		t.Errorf("read %d files, want the one of the future", read)
	}
}

// TestKnownSurvivesFailure wants an import that fails to leave what is known.
func TestKnownSurvivesFailure(t *testing.T) {
	root, st, known := t.TempDir(), newStore(t), &dir.Known{}
	write(t, root+"/a", "a")
	importKnown(t, st, root, known)
	w, err := st.Begin(t.Context(), "test")
	do(t, err, w.Close()) // takes nothing more
	write(t, root+"/b", "b")
	pl := ingest.New(t.Context(), w, st.Domain())
	if _, _, err := dir.ImportAt(t.Context(), time.Now().Add(time.Minute), root, pl, dir.Options{Known: known}); err == nil {
		t.Fatal("the import did not fail")
	}
	if len(known.Tree) != 2 || len(known.Stamps) != 2 {
		t.Errorf("known are %d entries with %d stamps, want 2", len(known.Tree), len(known.Stamps))
	}
}

// TestHostileTreeIsKnown goes through all that a tree can hold. It must not read
// files anew but those with a modification time to come, of which there are some.
func TestHostileTreeIsKnown(t *testing.T) {
	src, st, known := t.TempDir(), newStore(t), &dir.Known{}
	layerstest.Hostile(t, src, false)
	want, _ := importKnown(t, st, src, known)
	var future int64
	for i := range want {
		if want[i].Type == layers.Regular && want[i].ModTime.Time().After(time.Now()) {
			future++
		}
	}
	got, read := importKnown(t, st, src, known)
	if read != future {
		t.Errorf("read %d files, want %d", read, future)
	}
	sameTrees(t, got, want)
}
