package tarball_test

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"satchel/layers"
	"satchel/layers/dir"
	"satchel/layers/ingest"
	"satchel/layers/layerstest"
	"satchel/layers/tarball"
)

// hostile returns a directory of everything, the tree of it and its store.
func hostile(t *testing.T) (string, layers.Tree, *layerstest.Store) {
	t.Helper()
	src := t.TempDir()
	layerstest.Hostile(t, src, false)
	st := layerstest.NewStore()
	tree, _, err := dir.Import(t.Context(), src, ingest.New(t.Context(), st, st.Domain()), dir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return src, tree, st
}

func importTar(t testing.TB, st *layerstest.Store, r io.Reader, opt tarball.Options) (layers.Tree, []layers.Note) {
	t.Helper()
	tree, notes, err := tarball.Import(t.Context(), r, ingest.New(t.Context(), st, st.Domain()), opt)
	if err != nil {
		t.Fatal(err)
	}
	return tree, notes
}

// contents are compared by their chunks, holes by whole blocks only.
func sameTrees(t *testing.T, want, got layers.Tree) {
	t.Helper()
	for i := range min(len(want), len(got)) {
		a, b := want[i], got[i]
		if a.Path != b.Path {
			t.Fatalf("entry %d is %q, want %q", i, b.Path, a.Path)
		}
		if !a.SameAttrs(&b) || a.Type != b.Type || a.Target != b.Target || a.Size != b.Size || a.Major != b.Major || a.Minor != b.Minor || a.Opaque != b.Opaque {
			t.Errorf("entry %+v\nwant  %+v", b, a)
		}
	}
	if len(want) != len(got) {
		t.Errorf("%d entries, want %d", len(got), len(want))
	}
}

func need(t *testing.T, program string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root may restore all that is in the archive")
	}
	if _, err := exec.LookPath(program); err != nil {
		t.Skip(err)
	}
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%.4000s", cmd, err, out)
	}
}

func TestExportedArchiveReadsBack(t *testing.T) {
	_, tree, st := hostile(t)
	var b bytes.Buffer
	if err := tarball.Export(t.Context(), tree, st, &b); err != nil {
		t.Fatal(err)
	}
	got, notes := importTar(t, st, &b, tarball.Options{})
	if len(notes) > 0 {
		t.Errorf("notes %v, want none", notes)
	}
	sameTrees(t, tree, got)
	dest := filepath.Join(t.TempDir(), "out")
	if _, err := dir.Export(t.Context(), got, st, dest, dir.ExportOptions{}); err != nil {
		t.Fatal(err)
	}
	src := filepath.Join(t.TempDir(), "src")
	if _, err := dir.Export(t.Context(), tree, st, src, dir.ExportOptions{}); err != nil {
		t.Fatal(err)
	}
	layerstest.SameDirs(t, src, dest)
}

func TestGNUTarExtractsAll(t *testing.T) {
	need(t, "tar")
	src, tree, st := hostile(t)
	dest := t.TempDir()
	run(t, "tar", "--xattrs", "--xattrs-include=*", "--acls", "--numeric-owner", "-xpf", write(t, tree, st), "-C", dest)
	layerstest.SameDirs(t, src, dest)
}

func TestBSDTarExtractsAll(t *testing.T) {
	need(t, "bsdtar")
	src, tree, st := later(t)
	dest := t.TempDir()
	run(t, "bsdtar", "--numeric-owner", "--xattrs", "--acls", "-xpf", write(t, tree, st), "-C", dest)
	if err := os.Chtimes(dest, time.Time{}, tree[0].ModTime.Time()); err != nil { // it leaves "./" alone
		t.Fatal(err)
	}
	layerstest.SameDirs(t, src, dest)
}

// later is hostile with no times before 1970, for which bsdtar has the
// fraction of the second count backwards.
func later(t *testing.T) (string, layers.Tree, *layerstest.Store) {
	t.Helper()
	_, tree, st := hostile(t)
	for i := range tree {
		if e := &tree[i]; e.ModTime.Sec <= 0 && e.Type != layers.Hardlink {
			e.ModTime.Sec = int64(i + 1)
		}
	}
	src := filepath.Join(t.TempDir(), "src")
	if _, err := dir.Export(t.Context(), tree, st, src, dir.ExportOptions{Strict: true}); err != nil {
		t.Fatal(err)
	}
	return src, tree, st
}

// write exports a tree to a file and returns its name.
func write(t *testing.T, tree layers.Tree, st *layerstest.Store) string {
	t.Helper()
	var b bytes.Buffer
	if err := tarball.Export(t.Context(), tree, st, &b); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "t.tar")
	if err := os.WriteFile(name, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestArchivesOfOtherProgramsAreRead(t *testing.T) {
	for program, args := range map[string][]string{
		"tar":    {"--format=pax", "--xattrs", "--xattrs-include=*", "--acls", "--sparse", "--numeric-owner"},
		"bsdtar": {"--format=pax", "--xattrs", "--acls", "--read-sparse", "--numeric-owner"},
	} {
		t.Run(program, func(t *testing.T) {
			need(t, program)
			src, tree, st := later(t)
			name := filepath.Join(t.TempDir(), "t.tar")
			run(t, program, append(args, "-C", src, "-cf", name, ".")...)
			f, err := os.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			got, _ := importTar(t, st, f, tarball.Options{})
			// GNU tar takes further names of these for files of their own.
			special := func(e layers.Entry) bool {
				base := filepath.Base(e.Path)
				return base == "fifo" || base == "null"
			}
			sameTrees(t, slices.DeleteFunc(tree, special), slices.DeleteFunc(got, special))
		})
	}
}
