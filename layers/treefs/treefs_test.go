package treefs_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"satchel/layers"
	"satchel/layers/ingest"
	"satchel/layers/layerstest"
	"satchel/layers/treefs"
	"satchel/store"
)

// tree stores a tree of everything that a look-up may meet.
func tree(t testing.TB) (layers.Tree, *layerstest.Store) {
	t.Helper()
	st := layerstest.NewStore()
	p := ingest.New(t.Context(), st, st.Domain())
	link := func(path, target string) layers.Entry {
		return layers.Entry{Path: path, Type: layers.Symlink, Mode: 0o777, Target: target}
	}
	tr := layers.Tree{
		{Type: layers.Dir, Mode: 0o700},
		link("abs", "/usr/bin"),
		link("chain", "abs/tool"),
		{Path: "dev/null", Type: layers.CharDev, Mode: 0o666, Major: 1, Minor: 3},
		{Path: "empty", Type: layers.Dir, Mode: 0o1777},
		{Path: "gone", Type: layers.Whiteout},
		{Path: "gone/below", Type: layers.Regular},
		{Path: "hard", Type: layers.Hardlink, Target: "usr/bin/tool"},
		link("loop", "loop"),
		link("nowhere", "no/such"),
		{Path: "odd\xff", Type: layers.Dir, Mode: 0o755},
		link("out", "../../../usr/lib"),
		{Path: "usr-local", Type: layers.Dir, Mode: 0o755},
		{Path: "usr/bin/tool", Type: layers.Regular, Mode: 0o4755},
		{Path: "usr/lib", Type: layers.Dir, Mode: 0o755},
		{Path: "usr/lib/large", Type: layers.Regular, Mode: 0o644},
		link("usr/lib/up", "../bin/tool"),
	}
	tr.Sort()
	for path, contents := range map[string]string{"usr/bin/tool": "#!/bin/sh\n", "usr/lib/large": large} {
		if err := p.AddSparse(tr.Find(path), strings.NewReader(contents)); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	return tr, st
}

var large = strings.Repeat("x", 5000) + strings.Repeat("\x00", 20_000) + strings.Repeat("0123456789", 5000)

func open(t testing.TB) *treefs.FS {
	tr, st := tree(t)
	return treefs.New(t.Context(), tr, st)
}

func TestIsAFileSystem(t *testing.T) {
	tr, st := tree(t)
	unfit := func(e layers.Entry) bool { // for what the test demands of all names
		return e.Path == "odd\xff" || e.Path == "loop" || e.Path == "nowhere" || e.Path == "dev/null" || strings.HasPrefix(e.Path, "gone")
	}
	tr = slices.DeleteFunc(tr, unfit)
	if err := fstest.TestFS(treefs.New(t.Context(), tr, st), "usr/bin/tool", "usr/lib/large", "hard", "empty"); err != nil {
		t.Error(err)
	}
}

func TestLinksAreFollowedInside(t *testing.T) {
	f := open(t)
	for _, name := range []string{"usr/bin/tool", "abs/tool", "chain", "hard", "usr/lib/up", "out/up", "abs/../bin/tool"} {
		b, err := f.ReadFile(name)
		if strings.Contains(name, "..") {
			if !errors.Is(err, fs.ErrInvalid) {
				t.Errorf("%s: error %v, want ErrInvalid", name, err)
			}
			continue
		}
		if err != nil || string(b) != "#!/bin/sh\n" {
			t.Errorf("%s: %q, error %v", name, b, err)
		}
	}
	if target, err := f.ReadLink("usr/lib/up"); err != nil || target != "../bin/tool" {
		t.Errorf("target %q, error %v", target, err)
	}
}

func TestLookupsThatFail(t *testing.T) {
	f := open(t)
	for name, want := range map[string]error{
		"none": fs.ErrNotExist, "gone": fs.ErrNotExist, "gone/below": fs.ErrNotExist, "nowhere": fs.ErrNotExist,
		"loop": unix.ELOOP, "hard/x": unix.ENOTDIR, "/usr": fs.ErrInvalid, "usr/": fs.ErrInvalid, "dev/null": errors.ErrUnsupported,
	} {
		var perr *fs.PathError
		if _, err := f.Open(name); !errors.Is(err, want) || !errors.As(err, &perr) || perr.Path != name {
			t.Errorf("%s: error %v, want %v", name, err, want)
		}
	}
	if _, err := f.ReadLink("hard"); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("target of a file: error %v", err)
	}
	if _, err := f.ReadDir("hard"); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("list of a file: error %v", err)
	}
}

func TestModes(t *testing.T) {
	f := open(t)
	for name, want := range map[string]fs.FileMode{
		".": fs.ModeDir | 0o700, "usr": fs.ModeDir | 0o755, "hard": fs.ModeSetuid | 0o755, "loop": fs.ModeSymlink | 0o777,
		"empty": fs.ModeDir | fs.ModeSticky | 0o777, "dev/null": fs.ModeDevice | fs.ModeCharDevice | 0o666, "odd\xff": fs.ModeDir | 0o755,
	} {
		info, err := f.Lstat(name)
		if err != nil || info.Mode() != want {
			t.Errorf("%q: %v, error %v; want mode %v", name, info, err, want)
		}
		if e, err := f.Entry(name); err != nil || info.Sys().(*layers.Entry).Type != e.Type {
			t.Errorf("%q: entry %v, error %v", name, e, err)
		}
	}
}

func TestReadDirAgreesWithTheTree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tr := layerstest.RandomTree(40).Draw(t, "tree")
		dir := rapid.OneOf(layerstest.Path(), rapid.Just("")).Draw(t, "dir")
		f := treefs.New(context.Background(), tr, layerstest.NewStore())
		if e, err := f.Entry(dir); err != nil || e.Type != layers.Dir || e.Path != dir {
			return // not there, or reached through links
		}
		name := dir
		if dir == "" {
			name = "."
		}
		list, err := f.ReadDir(name)
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]bool{}
		for _, e := range tr.Under(dir) {
			rest := strings.TrimPrefix(e.Path[len(dir):], "/")
			first, _, below := strings.Cut(rest, "/")
			if direct := tr.Find(strings.TrimPrefix(dir+"/"+first, "/")); direct == nil && below || direct != nil && direct.Type != layers.Whiteout {
				want[first] = true
			}
		}
		for _, d := range list {
			if !want[d.Name()] {
				t.Fatalf("%q lists %q", dir, d.Name())
			}
		}
		if len(list) != len(want) {
			t.Fatalf("%q lists %v, want %v", dir, list, want)
		}
	})
}

func TestReadAt(t *testing.T) {
	tr, st := tree(t)
	f := treefs.Open(t.Context(), st, tr.Find("usr/lib/large"))
	if f.Size() != int64(len(large)) {
		t.Fatalf("size %d, want %d", f.Size(), len(large))
	}
	rapid.Check(t, func(t *rapid.T) {
		off := rapid.Int64Range(0, f.Size()+10).Draw(t, "off")
		got := make([]byte, rapid.IntRange(0, 30_000).Draw(t, "n"))
		for i := range got {
			got[i] = '?'
		}
		n, err := f.ReadAt(got, off)
		want := large[min(off, f.Size()):min(off+int64(len(got)), f.Size())]
		if string(got[:n]) != want || (n < len(got)) != errors.Is(err, io.EOF) {
			t.Fatalf("read %d bytes at %d, error %v; want %d", n, off, err, len(want))
		}
	})
	if _, err := f.ReadAt(nil, -1); err == nil {
		t.Error("a negative offset was taken")
	}
}

func TestOpenFileSeeks(t *testing.T) {
	file, err := open(t).Open("usr/lib/large")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if off, err := file.(io.Seeker).Seek(-10, io.SeekEnd); err != nil || off != int64(len(large)-10) {
		t.Fatalf("offset %d, error %v", off, err)
	}
	if b, err := io.ReadAll(file); err != nil || string(b) != "0123456789" {
		t.Errorf("read %q, error %v", b, err)
	}
	if _, err := file.(io.Seeker).Seek(-1, io.SeekStart); err == nil {
		t.Error("a negative offset was taken")
	}
}

func TestDamageIsReported(t *testing.T) {
	tr, st := tree(t)
	e := *tr.Find("usr/bin/tool")
	e.Extents = []layers.Extent{{ID: e.Extents[0].ID, Len: 5}}
	e.Size = 5
	if _, err := treefs.Open(t.Context(), st, &e).ReadAt(make([]byte, 5), 0); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("chunk of another length: error %v, want ErrCorrupt", err)
	}
	st.Remove(e.Extents[0].ID)
	f := treefs.New(t.Context(), tr, st)
	if _, err := f.ReadFile("hard"); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("missing chunk: error %v, want ErrNotExist", err)
	}
	if b, err := f.ReadFile("usr/lib/large"); err != nil || !bytes.Equal(b, []byte(large)) {
		t.Errorf("other file: error %v", err)
	}
}
