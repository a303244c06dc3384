package mount

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"satchel/layers"
	"satchel/layers/layerstest"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// needFUSE skips a test where this user can not mount.
func needFUSE(t *testing.T) {
	t.Helper()
	if err := unix.Access("/dev/fuse", unix.R_OK|unix.W_OK); err != nil {
		t.Skipf("no FUSE on this machine, or not for this user: /dev/fuse: %v", err)
	}
}

// mounted mounts a tree for the length of the test.
func mounted(t *testing.T, tree layers.Tree, st *layerstest.Store) string {
	t.Helper()
	needFUSE(t)
	must(t, tree.Check())
	dir := t.TempDir()
	s, err := Mount(t.Context(), tree, st, dir)
	must(t, err)
	t.Cleanup(func() {
		if err := s.Unmount(); err != nil {
			t.Error(err)
		}
		s.Wait()
	})
	return dir
}

// contents stores pieces of a file; an empty piece is a hole of 1 MiB.
func contents(t *testing.T, st *layerstest.Store, e *layers.Entry, pieces ...string) {
	t.Helper()
	for _, p := range pieces {
		x := layers.Extent{Len: 1 << 20}
		if p != "" {
			ids, err := st.Put(t.Context(), []byte(p))
			must(t, err)
			x = layers.Extent{ID: ids[0], Len: int64(len(p))}
		}
		e.Extents = append(e.Extents, x)
		e.Size += x.Len
	}
}

// everything is a tree with one of each.
func everything(t *testing.T, st *layerstest.Store) layers.Tree {
	t.Helper()
	at := layers.Time{Sec: 1_700_000_000, Nsec: 123_456_789}
	tree := layers.Tree{
		{Path: "", Type: layers.Dir, Mode: 0o755, ModTime: at},
		{Path: "acl", Type: layers.Regular, Mode: 0o640, Xattrs: []layers.Xattr{
			{Name: "system.posix_acl_access", Value: []byte("\x02\x00\x00\x00\x01\x00\x06\x00\xff\xff\xff\xff\x02\x00\x07\x00\x39\x05\x00\x00\x04\x00\x04\x00\xff\xff\xff\xff\x10\x00\x07\x00\xff\xff\xff\xff\x20\x00\x00\x00\xff\xff\xff\xff")},
		}},
		{Path: "block", Type: layers.BlockDev, Mode: 0o660, Major: 259, Minor: 70_000},
		{Path: "char", Type: layers.CharDev, Mode: 0o666, Major: 1, Minor: 3},
		{Path: "dir", Type: layers.Dir, Mode: 0o1777, UID: 5, GID: 6, ModTime: at},
		{Path: "dir/first", Type: layers.Regular, Mode: 0o4755, UID: 1<<32 - 2, GID: 70_000, ModTime: layers.Time{Sec: -5, Nsec: 1}, Xattrs: []layers.Xattr{
			{Name: "security.capability", Value: []byte{1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
			{Name: "user.binary", Value: []byte("a\x00b")}, {Name: "user.empty", Value: []byte{}},
		}},
		{Path: "dir/second", Type: layers.Hardlink, Target: "dir/first"},
		{Path: "empty", Type: layers.Regular, Mode: 0, ModTime: at},
		{Path: "fifo", Type: layers.Fifo, Mode: 0o600},
		{Path: "implied/a/b/leaf", Type: layers.Regular, Mode: 0o644},
		{Path: "link", Type: layers.Symlink, Mode: 0o777, Target: "/no/\xff/where", ModTime: at},
		{Path: "name\n\xfe", Type: layers.Regular, Mode: 0o644},
		{Path: "removed", Type: layers.Whiteout},
		{Path: "sparse", Type: layers.Regular, Mode: 0o600, ModTime: at},
		{Path: strings.Repeat("n", 255), Type: layers.Regular, Mode: 0o644},
		{Path: "third", Type: layers.Hardlink, Target: "dir/first"},
	}
	tree.Sort()
	contents(t, st, tree.Find("dir/first"), "some ", "contents")
	contents(t, st, tree.Find("sparse"), "", "data", "", strings.Repeat("more", 30_000), "")
	return tree
}

func TestMountShowsEverything(t *testing.T) {
	st := layerstest.NewStore()
	tree := everything(t, st)
	dir := mounted(t, tree, st)
	for i := range tree {
		compare(t, tree, &tree[i], filepath.Join(dir, tree[i].Path))
	}
	var paths []string
	must(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		paths = append(paths, strings.TrimPrefix(strings.TrimPrefix(path, dir), "/"))
		return err
	}))
	var want []string
	for _, e := range tree {
		if e.Type != layers.Whiteout {
			want = append(want, e.Path)
		}
	}
	want = append(want, "implied", "implied/a", "implied/a/b")
	slices.Sort(want)
	slices.Sort(paths)
	if !slices.Equal(paths, want) {
		t.Errorf("paths %q\nwant %q", paths, want)
	}
}

// compare compares what the kernel tells of a path with the entry.
func compare(t *testing.T, tree layers.Tree, e *layers.Entry, path string) {
	t.Helper()
	var st unix.Stat_t
	err := unix.Lstat(path, &st)
	if e.Type == layers.Whiteout {
		if !errors.Is(err, unix.ENOENT) {
			t.Errorf("%q: %v, want %v", e.Path, err, unix.ENOENT)
		}
		return
	}
	must(t, err)
	e = tree.Resolve(e)
	if st.Mode != fileTypes[e.Type]|uint32(e.Mode) || st.Uid != e.UID || st.Gid != e.GID {
		t.Errorf("%q: mode %o, owner %d:%d, want those of %+v", e.Path, st.Mode, st.Uid, st.Gid, e)
	}
	if st.Mtim.Sec != e.ModTime.Sec || st.Mtim.Nsec != int64(e.ModTime.Nsec) {
		t.Errorf("%q: time %v, want %v", e.Path, st.Mtim, e.ModTime)
	}
	if st.Rdev != unix.Mkdev(e.Major, e.Minor) {
		t.Errorf("%q: device %#x", e.Path, st.Rdev)
	}
	for _, x := range e.Xattrs {
		value := make([]byte, 100)
		n, err := unix.Lgetxattr(path, x.Name, value)
		if err != nil || !bytes.Equal(value[:n], x.Value) {
			t.Errorf("%q: attribute %s is %q, %v; want %q", e.Path, x.Name, value[:max(n, 0)], err, x.Value)
		}
	}
	names := make([]byte, 1000)
	n, err := unix.Llistxattr(path, names)
	if err != nil || bytes.Count(names[:n], []byte{0}) != len(e.Xattrs) {
		t.Errorf("%q: attributes %q, %v", e.Path, names[:max(n, 0)], err)
	}
	switch e.Type {
	case layers.Symlink:
		if target, err := os.Readlink(path); err != nil || target != e.Target {
			t.Errorf("%q: target %q, %v", e.Path, target, err)
		}
	case layers.Regular:
		if b, err := os.ReadFile(path); err != nil || int64(len(b)) != e.Size || st.Size != e.Size {
			t.Errorf("%q: %d bytes, %v, size %d; want %d", e.Path, len(b), err, st.Size, e.Size)
		}
	}
}

func TestHardLinksShareAnInode(t *testing.T) {
	st := layerstest.NewStore()
	dir := mounted(t, everything(t, st), st)
	seen := map[uint64]string{}
	for _, name := range []string{"dir/first", "dir/second", "third", "implied", "implied/a", "implied/a/b", "implied/a/b/leaf", "dir", "", "empty"} {
		var s unix.Stat_t
		must(t, unix.Lstat(filepath.Join(dir, name), &s))
		other, taken := seen[s.Ino]
		linked := name == "dir/second" || name == "third"
		if taken != linked {
			t.Errorf("%q has the inode number of %q", name, other)
		}
		want := uint64(1)
		if linked || name == "dir/first" {
			want = 3
		}
		if s.Nlink != want {
			t.Errorf("%q has %d links, want %d", name, s.Nlink, want)
		}
		seen[s.Ino] = name
	}
	b, err := os.ReadFile(filepath.Join(dir, "third"))
	if err != nil || string(b) != "some contents" {
		t.Errorf("contents %q, %v", b, err)
	}
}

func TestHoles(t *testing.T) {
	st := layerstest.NewStore()
	dir := mounted(t, everything(t, st), st)
	f, err := os.Open(filepath.Join(dir, "sparse"))
	must(t, err)
	defer f.Close()
	const mib = 1 << 20
	for _, tt := range []struct {
		off    int64
		whence int
		want   int64 // -1: none
	}{
		{0, unix.SEEK_DATA, mib}, {0, unix.SEEK_HOLE, 0}, {mib, unix.SEEK_HOLE, mib + 4}, {mib + 2, unix.SEEK_DATA, mib + 2},
		{mib + 4, unix.SEEK_DATA, 2*mib + 4}, {2*mib + 120_004, unix.SEEK_DATA, -1}, {3*mib + 120_004, unix.SEEK_HOLE, -1},
	} {
		got, err := f.Seek(tt.off, tt.whence)
		if tt.want < 0 && !errors.Is(err, unix.ENXIO) || tt.want >= 0 && (err != nil || got != tt.want) {
			t.Errorf("seek %d from %d: %d, %v; want %d", tt.whence, tt.off, got, err, tt.want)
		}
	}
	var s unix.Stat_t
	must(t, unix.Fstat(int(f.Fd()), &s))
	if got := s.Blocks * 512; got < 120_004 || got > 121_000 {
		t.Errorf("takes %d bytes", got)
	}
}

func TestReadOnly(t *testing.T) {
	st := layerstest.NewStore()
	dir := mounted(t, everything(t, st), st)
	for what, err := range map[string]error{
		"write":  os.WriteFile(filepath.Join(dir, "empty"), []byte("x"), 0o644),
		"create": os.WriteFile(filepath.Join(dir, "new"), nil, 0o644),
		"remove": os.Remove(filepath.Join(dir, "empty")),
		"chmod":  os.Chmod(filepath.Join(dir, "empty"), 0o777),
	} {
		if !errors.Is(err, unix.EROFS) {
			t.Errorf("%s: %v, want %v", what, err, unix.EROFS)
		}
	}
}

func TestManyNames(t *testing.T) {
	const count = 100_000
	tree := make(layers.Tree, 0, count)
	for i := range count {
		tree = append(tree, layers.Entry{Path: fmt.Sprintf("dir/%06d", i), Type: layers.Regular, Mode: 0o644})
	}
	dir := mounted(t, tree, layerstest.NewStore())
	for range 2 { // the second time from the kernel's cache
		names, err := os.ReadDir(filepath.Join(dir, "dir"))
		must(t, err)
		if len(names) != count || names[count-1].Name() != "099999" {
			t.Fatalf("%d names", len(names))
		}
	}
}

func TestMissingContents(t *testing.T) {
	st := layerstest.NewStore()
	tree := everything(t, st)
	st.Remove(tree.Find("dir/first").Extents[1].ID)
	dir := mounted(t, tree, st)
	if _, err := os.ReadFile(filepath.Join(dir, "dir/first")); !errors.Is(err, unix.EIO) {
		t.Errorf("error %v, want %v", err, unix.EIO)
	}
}

func TestMountRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	for _, dir := range []string{file, file + "-absent"} {
		if _, err := Mount(t.Context(), nil, layerstest.NewStore(), dir); err == nil || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", dir, err)
		}
	}
}

// TestUnprivileged runs this test binary again as a user without rights.
func TestUnprivileged(t *testing.T) {
	const marker = "SATCHEL_TEST_UNPRIVILEGED"
	if dir := os.Getenv(marker); dir != "" {
		mountUnprivileged(t, dir)
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root to become another user")
	}
	dir, err := os.MkdirTemp("", "satchel-mount") //nolint:usetesting // another user has to get there
	must(t, err)
	defer os.RemoveAll(dir)
	must(t, os.Chmod(dir, 0o755))
	mnt := filepath.Join(dir, "mnt")
	must(t, os.Mkdir(mnt, 0o700))
	must(t, os.Chown(mnt, 65534, 65534))
	binary := filepath.Join(dir, "test")
	copyProgram(t, os.Args[0], binary)
	cmd := exec.Command(binary, "-test.run=^TestUnprivileged$", "-test.v")
	cmd.Dir = "/"
	cmd.Env = []string{marker + "=" + mnt, "PATH=" + os.Getenv("PATH"), "TMPDIR=" + mnt}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if strings.Contains(string(out), "--- SKIP") {
		t.Skipf("%s", out)
	}
}

func mountUnprivileged(t *testing.T, dir string) {
	t.Helper()
	if err := unix.Access("/dev/fuse", unix.R_OK|unix.W_OK); err != nil {
		if _, merr := Mount(t.Context(), nil, layerstest.NewStore(), dir); !errors.Is(merr, err) {
			t.Errorf("without access: %v, want %v", merr, err)
		}
		t.Skipf("this machine has no FUSE for ordinary users: %v", err)
	}
	if _, err := exec.LookPath("fusermount3"); err != nil {
		t.Skipf("this machine has no fusermount3: %v", err)
	}
	st := layerstest.NewStore()
	tree := everything(t, st)
	s, err := Mount(t.Context(), tree, st, dir)
	must(t, err)
	b, err := os.ReadFile(filepath.Join(dir, "dir/first"))
	if err != nil || string(b) != "some contents" {
		t.Errorf("contents %q, %v", b, err)
	}
	if _, err := os.ReadFile(filepath.Join(dir, "empty")); err != nil {
		t.Errorf("a file of mode 0 of another user: %v", err)
	}
	must(t, s.Unmount())
	s.Wait()
	t.Setenv("PATH", dir) // where nothing is
	if _, err := os.Stat("/bin/fusermount3"); err == nil {
		return // found in any case
	}
	if _, err := Mount(t.Context(), tree, st, dir); !errors.Is(err, exec.ErrNotFound) || !strings.Contains(err.Error(), "fuse3") {
		t.Errorf("without fusermount3: %v", err)
	}
}

func copyProgram(t *testing.T, from, to string) {
	t.Helper()
	src, err := os.Open(from)
	must(t, err)
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE, 0o755)
	must(t, err)
	_, err = io.Copy(dst, src)
	must(t, errors.Join(err, dst.Close()))
}
