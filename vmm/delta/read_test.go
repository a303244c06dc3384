package delta

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"satchel/layers"
	"satchel/vmm/delta/ext4"
)

// readBack reads a disk and compares the tree with what the kernel told.
func readBack(t *testing.T, path string, want layers.Tree) (layers.Tree, []layers.Note) {
	t.Helper()
	got, notes, err := Read(t.Context(), path, &sums{})
	if err != nil {
		t.Fatal(err)
	}
	if err := got.Check(); err != nil {
		t.Errorf("tree breaks a rule: %v", err)
	}
	if len(got) != len(want) {
		t.Errorf("%d entries, the kernel has %d", len(got), len(want))
	}
	for i := range min(len(got), len(want)) {
		if diff := cmp.Diff(want[i], got[i], cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("entry %d (-kernel +read):\n%s", i, diff)
		}
	}
	return got, notes
}

func TestReadMatchesKernel(t *testing.T) {
	tests := []struct {
		name string
		fill func(t *testing.T, upper string)
	}{
		{"attributes", fillAttributes},
		{"names", fillNames},
		{"symlinks", fillSymlinks},
		{"devices", fillDevices},
		{"hard links", fillHardLinks},
		{"xattrs", fillXattrs},
		{"acls", fillACLs},
		{"sparse files", fillSparse},
		{"fragmented file", fillFragmented},
		{"block-mapped files", fillBlockMapped},
		{"deep directories", fillDeep},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := newDisk(t, 256<<20)
			var want layers.Tree
			fill(t, path, func(upper string) {
				tt.fill(t, upper)
				unix.Sync()
				want = kernelTree(t, upper)
			})
			readBack(t, path, want)
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, data string) string {
	t.Helper()
	must(t, os.WriteFile(path, []byte(data), 0o644))
	return path
}

func fillAttributes(t *testing.T, upper string) {
	t.Helper()
	for _, mode := range []uint32{0, 0o400, 0o644, 0o777, 0o1777, 0o2755, 0o4755, 0o6711, 0o7777} {
		p := write(t, filepath.Join(upper, fmt.Sprintf("file-%o", mode)), "x")
		must(t, unix.Chmod(p, mode))
		d := filepath.Join(upper, fmt.Sprintf("dir-%o", mode))
		must(t, os.Mkdir(d, 0o700))
		must(t, unix.Chmod(d, mode))
	}
	for _, id := range []int{0, 1000, 65535, 65536, 100_000_000, 1<<32 - 2} {
		must(t, os.Lchown(write(t, filepath.Join(upper, fmt.Sprintf("owner-%d", id)), ""), id, 1<<32-2-id))
	}
	for _, sec := range []int64{-1 << 31, -1, 0, 1, 1<<31 - 1, 1 << 31, 1<<32 + 5, 15032385535} {
		for _, nsec := range []int64{0, 1, 999_999_999} {
			p := write(t, filepath.Join(upper, fmt.Sprintf("time%d.%d", sec, nsec)), "")
			ts := []unix.Timespec{{Sec: 0}, {Sec: sec, Nsec: nsec}}
			must(t, unix.UtimesNanoAt(unix.AT_FDCWD, p, ts, unix.AT_SYMLINK_NOFOLLOW))
		}
	}
}

func fillNames(t *testing.T, upper string) {
	t.Helper()
	long := strings.Repeat("n", 255)
	for _, name := range []string{long, "\xff\xfe", "new\nline", " ", "-rf", "a", "a!", "a-b", "\x01", "ünï", "*?[", `back\slash`, "..."} {
		write(t, filepath.Join(upper, name), name)
	}
	must(t, os.Mkdir(filepath.Join(upper, "a.d"), 0o755))
	write(t, filepath.Join(upper, "a.d", "z"), "z")
	must(t, os.Mkdir(filepath.Join(upper, "a.d", long), 0o755))
	write(t, filepath.Join(upper, "a.d", long, "inner"), "")
}

func fillSymlinks(t *testing.T, upper string) {
	t.Helper()
	for _, n := range []int{1, 58, 59, 60, 61, 255, 256, 4000, 4095} {
		must(t, os.Symlink(strings.Repeat("s", n), filepath.Join(upper, fmt.Sprintf("link-%d", n))))
	}
	p := filepath.Join(upper, "owned")
	must(t, os.Symlink("/etc/\xff", p))
	must(t, os.Lchown(p, 7, 8))
	must(t, unix.Lsetxattr(p, "trusted.mark", []byte("on a symlink"), 0))
	q := filepath.Join(upper, "block")
	must(t, os.Symlink("short", q))
	must(t, unix.Lsetxattr(q, "trusted.mark", []byte(strings.Repeat("long", 300)), 0))
}

func fillDevices(t *testing.T, upper string) {
	t.Helper()
	for _, d := range []struct{ major, minor uint32 }{{1, 3}, {0, 1}, {255, 255}, {256, 0}, {8, 256}, {4095, 1<<20 - 1}} {
		name := fmt.Sprintf("%d-%d", d.major, d.minor)
		must(t, unix.Mknod(filepath.Join(upper, "c"+name), unix.S_IFCHR|0o660, int(unix.Mkdev(d.major, d.minor))))
		must(t, unix.Mknod(filepath.Join(upper, "b"+name), unix.S_IFBLK|0o600, int(unix.Mkdev(d.major, d.minor))))
	}
	must(t, unix.Mknod(filepath.Join(upper, "whiteout"), unix.S_IFCHR, 0))
	must(t, unix.Link(filepath.Join(upper, "whiteout"), filepath.Join(upper, "whiteout-2")))
	must(t, unix.Mkfifo(filepath.Join(upper, "fifo"), 0o620))
}

func fillHardLinks(t *testing.T, upper string) {
	t.Helper()
	must(t, os.Mkdir(filepath.Join(upper, "d"), 0o755))
	p := write(t, filepath.Join(upper, "m"), "contents")
	for _, name := range []string{"a", "z", "d/x", "m!"} {
		must(t, os.Link(p, filepath.Join(upper, name)))
	}
	s := filepath.Join(upper, "symlink")
	must(t, os.Symlink("m", s))
	must(t, os.Link(s, filepath.Join(upper, "d/symlink")))
	f := filepath.Join(upper, "fifo")
	must(t, unix.Mkfifo(f, 0o600))
	must(t, os.Link(f, filepath.Join(upper, "d/fifo")))
}

func fillXattrs(t *testing.T, upper string) {
	t.Helper()
	p := write(t, filepath.Join(upper, "file"), "x")
	must(t, unix.Setxattr(p, "user.empty", nil, 0))
	must(t, unix.Setxattr(p, "user.binary", []byte("\x00\x01\xff\x00"), 0))
	must(t, unix.Setxattr(p, "user."+strings.Repeat("n", 250), []byte("long name"), 0))
	must(t, unix.Setxattr(p, "user.big", []byte(strings.Repeat("v", 3000)), 0))
	must(t, unix.Setxattr(p, "trusted.secret", []byte("t"), 0))
	// The capability to bind low ports, as setcap writes it.
	capability := []byte{1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	must(t, unix.Setxattr(p, "security.capability", capability, 0))
	must(t, unix.Setxattr(upper, "user.on-root", []byte("r"), 0))
	for i := range 20 { // equal blocks of attributes are shared between inodes
		q := write(t, filepath.Join(upper, fmt.Sprintf("shared-%d", i)), "")
		must(t, unix.Setxattr(q, "user.same", []byte(strings.Repeat("s", 500)), 0))
	}
}

func fillACLs(t *testing.T, upper string) {
	t.Helper()
	p := write(t, filepath.Join(upper, "file"), "x")
	command(t, "setfacl", "-m", "u:1234:rwx,u:4294967290:r,g:77:rx,m::rw", p)
	d := filepath.Join(upper, "dir")
	must(t, os.Mkdir(d, 0o755))
	command(t, "setfacl", "-m", "g:5:rwx", "-d", "-m", "u:9:rwx", d)
	write(t, filepath.Join(d, "inherits"), "")
}

func fillSparse(t *testing.T, upper string) {
	t.Helper()
	for name, at := range map[string][]int64{
		"hole-first": {1 << 20}, "hole-middle": {0, 1 << 20}, "big": {0, 5 << 30, 9<<30 + 1},
	} {
		f, err := os.Create(filepath.Join(upper, name))
		must(t, err)
		for _, off := range at {
			_, err := f.WriteAt([]byte(strings.Repeat("d", 5000)), off)
			must(t, err)
		}
		must(t, f.Close())
	}
	must(t, os.Truncate(write(t, filepath.Join(upper, "hole-last"), "data"), 1<<32+3))
	must(t, os.Truncate(write(t, filepath.Join(upper, "only-hole"), ""), 123_456))
	f, err := os.Create(filepath.Join(upper, "unwritten"))
	must(t, err)
	must(t, unix.Fallocate(int(f.Fd()), 0, 0, 4<<20))
	_, err = f.WriteAt([]byte("in the middle"), 2<<20)
	must(t, err)
	must(t, f.Close())
}

// fillFragmented makes a file of so many extents that their tree is deep.
func fillFragmented(t *testing.T, upper string) {
	t.Helper()
	f, err := os.Create(filepath.Join(upper, "fragmented"))
	must(t, err)
	for i := range int64(3000) {
		_, err := f.WriteAt([]byte(fmt.Sprintf("block %d", i)), i*8192)
		must(t, err)
	}
	must(t, f.Close())
}

func fillBlockMapped(t *testing.T, upper string) {
	t.Helper()
	for name, size := range map[string]int{"small": 5000, "indirect": 100_000, "double": 6 << 20} {
		p := write(t, filepath.Join(upper, name), "")
		command(t, "chattr", "-e", p)
		write(t, p, strings.Repeat("0123456789abcde\n", size/16))
	}
	p := write(t, filepath.Join(upper, "holes"), "")
	command(t, "chattr", "-e", p)
	f, err := os.OpenFile(p, os.O_RDWR, 0)
	must(t, err)
	for _, off := range []int64{1 << 16, 1 << 23, 1<<32 + 1<<30} {
		_, err := f.WriteAt([]byte("data"), off)
		must(t, err)
	}
	must(t, f.Close())
}

func fillDeep(t *testing.T, upper string) {
	t.Helper()
	p := upper
	for range 200 {
		p = filepath.Join(p, "directory")
	}
	must(t, os.MkdirAll(p, 0o711))
	write(t, filepath.Join(p, "bottom"), "here")
}

func TestReadManyFiles(t *testing.T) {
	const count = 20_000
	path := newDisk(t, 256<<20)
	fill(t, path, func(upper string) {
		for i := range count {
			f, err := os.Create(filepath.Join(upper, fmt.Sprintf("file-%06d-%s", i, strings.Repeat("x", i%40))))
			must(t, err)
			must(t, f.Close())
		}
		for i := range count / 2 { // leave gaps in the leaves
			must(t, os.Remove(filepath.Join(upper, fmt.Sprintf("file-%06d-%s", 2*i, strings.Repeat("x", 2*i%40)))))
		}
	})
	tree, _, err := Read(t.Context(), path, &sums{})
	must(t, err)
	if len(tree) != 1+count/2 {
		t.Fatalf("%d entries, want %d", len(tree), 1+count/2)
	}
	for i, e := range tree[1:] {
		if want := fmt.Sprintf("file-%06d-%s", 2*i+1, strings.Repeat("x", (2*i+1)%40)); e.Path != want {
			t.Fatalf("entry %d is %q, want %q", i, e.Path, want)
		}
	}
}

func TestReadNotes(t *testing.T) {
	path := newDisk(t, MinSize)
	fill(t, path, func(upper string) {
		l, err := net.Listen("unix", filepath.Join(upper, "socket"))
		must(t, err)
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		must(t, l.Close())
		p := write(t, filepath.Join(upper, "fixed"), "x")
		command(t, "chattr", "+i", p)
		write(t, filepath.Join(filepath.Dir(upper), "lost+found", "#12"), "lost")
	})
	tree, notes, err := Read(t.Context(), path, &sums{})
	must(t, err)
	if tree.Find("socket") != nil || tree.Find("fixed") == nil {
		t.Errorf("tree has %v", tree)
	}
	var paths []string
	for _, n := range notes {
		paths = append(paths, n.Path)
	}
	if want := []string{"", "fixed", "socket"}; !slices.Equal(paths, want) {
		t.Errorf("notes %+v, want one each for %q", notes, want)
	}
}

func TestReadOverlay(t *testing.T) {
	path := newDisk(t, MinSize)
	lower, merged := t.TempDir(), t.TempDir()
	for _, p := range []string{"gone", "gone-too", "dir/old", "kept"} {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(lower, p)), 0o755))
		write(t, filepath.Join(lower, p), p)
	}
	dir, unmount := mount(t, path)
	must(t, os.MkdirAll(filepath.Join(dir, UpperDir), 0o755))
	must(t, os.MkdirAll(filepath.Join(dir, WorkDir), 0o755))
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s/upper,workdir=%s/work,redirect_dir=off,metacopy=off,index=off", lower, dir, dir)
	if err := unix.Mount("overlay", merged, "overlay", 0, options); err != nil {
		t.Skipf("the kernel has no overlayfs: %v", err)
	}
	func() {
		defer func() { must(t, unix.Unmount(merged, 0)) }()
		must(t, os.Remove(filepath.Join(merged, "gone")))
		must(t, os.Remove(filepath.Join(merged, "gone-too")))
		must(t, os.RemoveAll(filepath.Join(merged, "dir")))
		must(t, os.Mkdir(filepath.Join(merged, "dir"), 0o750))
		write(t, filepath.Join(merged, "dir", "new"), "new")
		must(t, os.Chmod(filepath.Join(merged, "kept"), 0o600))
	}()
	unmount()
	tree, notes, err := Read(t.Context(), path, &sums{})
	must(t, err)
	if len(notes) != 0 {
		t.Errorf("notes %v", notes)
	}
	want := []struct {
		path   string
		typ    layers.Type
		opaque bool
	}{
		{"", layers.Dir, false}, {"dir", layers.Dir, true}, {"dir/new", layers.Regular, false},
		{"gone", layers.Whiteout, false}, {"gone-too", layers.Whiteout, false}, {"kept", layers.Regular, false},
	}
	if len(tree) != len(want) {
		t.Fatalf("tree %v", tree)
	}
	for i, w := range want {
		if e := tree[i]; e.Path != w.path || e.Type != w.typ || e.Opaque != w.opaque || len(e.Xattrs) != 0 {
			t.Errorf("entry %+v, want %+v", e, w)
		}
	}
}

func TestReadOverlayMarks(t *testing.T) {
	tests := []struct {
		mark string
		want string // attribute that is left
		err  error
	}{
		{mark: "origin"},
		{mark: "impure"},
		{mark: "overlay.opaque", want: "trusted.overlay.opaque"},
		{mark: "redirect", err: ext4.ErrUnsupported},
		{mark: "metacopy", err: ext4.ErrUnsupported},
	}
	for _, tt := range tests {
		t.Run(tt.mark, func(t *testing.T) {
			e := &layers.Entry{Type: layers.Dir}
			err := overlay(e, []layers.Xattr{{Name: overlayPrefix + tt.mark, Value: []byte("y")}, {Name: "user.a"}})
			if !errors.Is(err, tt.err) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if tt.err != nil {
				return
			}
			want := []layers.Xattr{{Name: "user.a"}}
			if tt.want != "" {
				want = []layers.Xattr{{Name: tt.want, Value: []byte("y")}, {Name: "user.a"}}
			}
			if diff := cmp.Diff(want, e.Xattrs); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestReadFreshIsEmpty(t *testing.T) {
	tree, notes, err := Read(t.Context(), newDisk(t, MinSize), &sums{})
	must(t, err)
	if len(tree) != 0 || len(notes) != 0 {
		t.Errorf("tree %v, notes %v", tree, notes)
	}
}
