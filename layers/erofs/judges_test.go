package erofs_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	goerofs "github.com/erofs/go-erofs"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"satchel/layers"
	"satchel/layers/erofs"
)

var buildTime = layers.Time{Sec: 1_650_000_000, Nsec: 5}

// A seen is what a reader of the image tells of one path.
type seen struct {
	Mode     uint32 // with the type
	UID, GID uint32
	ModTime  layers.Time
	Rdev     uint64
	Nlink    uint64
	Size     int64
	First    string // the first path of the same inode
	Target   string
	Content  string // hash
	Xattrs   map[string]string
}

var typeBits = map[layers.Type]uint32{
	layers.Regular: unix.S_IFREG, layers.Dir: unix.S_IFDIR, layers.Symlink: unix.S_IFLNK,
	layers.CharDev: unix.S_IFCHR, layers.BlockDev: unix.S_IFBLK, layers.Fifo: unix.S_IFIFO,
}

// wanted is what a reader should tell of a tree.
func wanted(tb testing.TB, t layers.Tree, c chunks) map[string]seen {
	tb.Helper()
	m := map[string]seen{}
	links := map[string]uint64{}
	for i := range t {
		if t[i].Type == layers.Dir {
			links[t[i].Path] += 2
			if t[i].Path != "" {
				links[parentOf(t[i].Path)]++
			}
			continue
		}
		links[t.Resolve(&t[i]).Path]++
	}
	for i := range t {
		e := t.Resolve(&t[i])
		s := seen{Mode: typeBits[e.Type] | uint32(e.Mode), UID: e.UID, GID: e.GID, ModTime: e.ModTime,
			Nlink: links[e.Path], First: e.Path, Target: e.Target, Xattrs: map[string]string{}}
		if e.Type == layers.CharDev || e.Type == layers.BlockDev {
			s.Rdev = unix.Mkdev(e.Major, e.Minor)
		}
		for _, x := range e.Xattrs {
			s.Xattrs[x.Name] = string(x.Value)
		}
		if e.Type == layers.Regular {
			s.Size, s.Content = e.Size, hashOf(bytes.NewReader(contentOf(tb, e, c)))
		}
		m[t[i].Path] = s
	}
	return m
}

func parentOf(path string) string {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i]
	}
	return ""
}

func contentOf(tb testing.TB, e *layers.Entry, c chunks) []byte {
	tb.Helper()
	var b []byte
	for _, x := range e.Extents {
		data := make([]byte, x.Len)
		if !x.ID.IsZero() {
			var err error
			if data, err = c.Get(context.Background(), x.ID); err != nil {
				tb.Fatal(err)
			}
		}
		b = append(b, data...)
	}
	return b
}

func hashOf(r io.Reader) string {
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return err.Error()
	}
	return string(h.Sum(nil)[:8])
}

// mounted is what the kernel tells of the image in a file.
func mounted(tb testing.TB, image string) (m map[string]seen) {
	tb.Helper()
	if os.Getuid() != 0 {
		tb.Skip("mounting an image needs root")
	}
	mount(tb, image, func(at string) { m = walked(tb, at) })
	return m
}

// mount calls f with the directory where the kernel has mounted an image.
func mount(tb testing.TB, image string, f func(at string)) {
	tb.Helper()
	at := tb.TempDir()
	if out, err := exec.Command("mount", "-t", "erofs", "-o", "loop,ro", image, at).CombinedOutput(); err != nil {
		tb.Fatalf("mount: %v\n%s", err, out)
	}
	defer func() {
		if err := unix.Unmount(at, 0); err != nil {
			tb.Errorf("unmount %s: %v", at, err)
		}
	}()
	f(at)
}

// walked is what the kernel tells of a directory.
func walked(tb testing.TB, root string) map[string]seen {
	tb.Helper()
	m := map[string]seen{}
	inodes := map[uint64][]string{}
	err := filepath.WalkDir(root, func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		path := strings.TrimPrefix(strings.TrimPrefix(name, root), "/")
		s, ino, err := look(name)
		m[path], inodes[ino] = s, append(inodes[ino], path)
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	for _, paths := range inodes {
		sort.Slice(paths, func(i, j int) bool { return layers.ComparePaths(paths[i], paths[j]) < 0 })
		for _, p := range paths {
			s := m[p]
			s.First = paths[0]
			m[p] = s
		}
	}
	return m
}

func look(name string) (seen, uint64, error) {
	var st syscall.Stat_t
	if err := syscall.Lstat(name, &st); err != nil {
		return seen{}, 0, err
	}
	s := seen{Mode: st.Mode, UID: st.Uid, GID: st.Gid, Rdev: st.Rdev, Nlink: uint64(st.Nlink),
		ModTime: layers.Time{Sec: st.Mtim.Sec, Nsec: uint32(st.Mtim.Nsec)}}
	var err error
	if s.Xattrs, err = xattrsOf(name); err != nil {
		return s, 0, err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		s.Target, err = os.Readlink(name)
	case unix.S_IFREG:
		var f *os.File
		if f, err = os.Open(name); err == nil {
			s.Size, s.Content = st.Size, hashOf(f)
			err = f.Close()
		}
	}
	return s, st.Ino, err
}

func xattrsOf(name string) (map[string]string, error) {
	m := map[string]string{}
	list := make([]byte, 1<<16)
	n, err := unix.Llistxattr(name, list)
	if err != nil {
		return nil, err
	}
	for _, x := range strings.Split(strings.TrimSuffix(string(list[:n]), "\x00"), "\x00") {
		if x == "" {
			continue
		}
		value := make([]byte, 1<<16)
		n, err := unix.Lgetxattr(name, x, value)
		if err != nil {
			return nil, &fs.PathError{Op: "getxattr " + x, Path: name, Err: err}
		}
		m[x] = string(value[:n])
	}
	return m, nil
}

// secondReader is what go-erofs tells of an image, as far as it can: it opens
// only names that are valid UTF-8.
func secondReader(tb testing.TB, image io.ReaderAt) map[string]seen {
	tb.Helper()
	fsys, err := goerofs.Open(image)
	if err != nil {
		tb.Fatal(err)
	}
	m := map[string]seen{}
	first := map[uint64]string{}
	err = fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if !utf8.ValidString(name) {
			return nil
		}
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*goerofs.Stat)
		path := strings.TrimPrefix(name, ".")
		if name != "." {
			path = name
		}
		s := seen{UID: st.UID, GID: st.GID, ModTime: layers.Time{Sec: int64(st.Mtime), Nsec: st.MtimeNs}, Nlink: uint64(st.Nlink), Xattrs: map[string]string{}}
		for name, value := range st.Xattrs {
			// It ends the names of ACLs, which are empty after their prefix,
			// with a dot that the kernel does not have.
			s.Xattrs[strings.TrimSuffix(name, ".")] = value
		}
		ino := info.(interface{ Ino() uint64 }).Ino()
		if _, ok := first[ino]; !ok {
			first[ino] = path
		}
		s.First = first[ino]
		switch info.Mode().Type() {
		case 0:
			f, err := fsys.Open(name)
			if err != nil {
				return err
			}
			s.Size, s.Content = info.Size(), hashOf(f)
			_ = f.Close()
		case fs.ModeSymlink:
			s.Target, err = fs.ReadLink(fsys, name)
		}
		m[path] = s
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

// forSecondReader leaves out what go-erofs does not tell or cannot reach.
func forSecondReader(m map[string]seen) map[string]seen {
	for path, s := range m {
		s.Mode, s.Rdev = 0, 0
		m[path] = s
		if !utf8.ValidString(path) {
			delete(m, path)
		}
	}
	return m
}

// writeImage writes an image to a file.
func writeImage(tb testing.TB, im *erofs.Image) string {
	tb.Helper()
	f, err := os.CreateTemp(tb.TempDir(), "*.erofs")
	if err != nil {
		tb.Fatal(err)
	}
	if n, err := im.WriteTo(f); err != nil || n != im.Size() {
		tb.Fatalf("wrote %d of %d bytes: %v", n, im.Size(), err)
	}
	if err := f.Close(); err != nil {
		tb.Fatal(err)
	}
	return f.Name()
}

// fsck fails the test when fsck.erofs finds fault with an image.
func fsck(tb testing.TB, args ...string) {
	tb.Helper()
	bin, err := exec.LookPath("fsck.erofs")
	if err != nil {
		tb.Skip("fsck.erofs is not installed")
	}
	if out, err := exec.Command(bin, args...).CombinedOutput(); err != nil {
		tb.Errorf("fsck.erofs %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func sameSeen(tb testing.TB, want, got map[string]seen) {
	tb.Helper()
	for path, w := range want {
		g, ok := got[path]
		if !ok {
			tb.Errorf("%q is missing", path)
		} else if d := cmp.Diff(w, g); d != "" {
			tb.Errorf("%q (-want +got):\n%.2000s", path, d)
		}
	}
	for path := range got {
		if _, ok := want[path]; !ok {
			tb.Errorf("%q should not be there", path)
		}
	}
}
