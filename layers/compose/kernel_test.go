package compose_test

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"satchel/layers"
	"satchel/layers/compose"
)

// TestComposeAgreesWithOverlayfs lays random layers out as directories, in the
// form that overlayfs gives them, and compares what the kernel makes of them.
// Layers there have all their directories, so nothing is implied.
func TestComposeAgreesWithOverlayfs(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	top := t.TempDir()
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		c := chunks{}
		stack := drawStack(t, c, true)
		for len(stack) < 2 {
			stack = append(stack, compose.Layer{Name: "empty"})
		}
		n++
		dir := filepath.Join(top, string(rune('a'+n%26)), strings.Repeat("n", n/26+1))
		var lower []string
		for i, l := range stack {
			root := layers.Entry{Type: layers.Dir, Mode: 0o755, ModTime: layers.Time{Sec: int64(i + 1)}}
			if l.Tree.Find("") == nil {
				stack[i].Tree = append(layers.Tree{root}, l.Tree...)
			}
			stack[i].Tree[0].Opaque = false // overlayfs has no such thing
			at := filepath.Join(dir, names[i])
			if err := lay(at, stack[i].Tree, c); err != nil {
				t.Fatal(err)
			}
			lower = append([]string{at}, lower...)
		}
		r, err := compose.Compose(context.Background(), c, stack)
		if err != nil {
			t.Fatal(err)
		}
		at := filepath.Join(dir, "merged")
		if err := os.Mkdir(at, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("overlay", at, "overlay", unix.MS_RDONLY, "lowerdir="+strings.Join(lower, ":")); err != nil {
			t.Fatal(err)
		}
		got, err := walk(at)
		if err := unix.Unmount(at, 0); err != nil {
			t.Fatal(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]onDisk{}
		for i := range r.Tree {
			want[r.Tree[i].Path] = expect(r.Tree.Resolve(&r.Tree[i]), c)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("(-compose +kernel):\n%s", d)
		}
	})
}

// lay writes a layer to a directory as overlayfs wants it.
func lay(root string, t layers.Tree, c chunks) error {
	if err := os.MkdirAll(root, 0o755); err != nil {
		return err
	}
	for i := range t {
		e := &t[i]
		if err := layEntry(root, e, c); err != nil {
			return err
		}
	}
	for i := len(t) - 1; i >= 0; i-- { // a directory's time last
		if e := t[i]; e.Type != layers.Hardlink && e.Type != layers.Whiteout {
			ts := unix.NsecToTimespec(e.ModTime.Sec * 1e9)
			if err := unix.UtimesNanoAt(unix.AT_FDCWD, filepath.Join(root, e.Path), []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
				return err
			}
		}
	}
	return nil
}

func layEntry(root string, e *layers.Entry, c chunks) error {
	name := filepath.Join(root, e.Path)
	var err error
	switch e.Type {
	case layers.Dir:
		if e.Path != "" {
			err = os.Mkdir(name, 0o700)
		}
		if err == nil && e.Opaque {
			err = unix.Setxattr(name, "trusted.overlay.opaque", []byte("y"), 0)
		}
	case layers.Regular:
		var data []byte
		for _, x := range e.Extents {
			data = append(data, c[x.ID]...)
		}
		err = os.WriteFile(name, data, 0o600)
	case layers.Symlink:
		err = os.Symlink(e.Target, name)
	case layers.Fifo:
		err = unix.Mkfifo(name, 0o600)
	case layers.Hardlink:
		return os.Link(filepath.Join(root, e.Target), name)
	case layers.Whiteout:
		return unix.Mknod(name, unix.S_IFCHR, 0)
	}
	if err == nil {
		err = os.Lchown(name, int(e.UID), int(e.GID))
	}
	if err == nil && e.Type != layers.Symlink {
		err = unix.Chmod(name, uint32(e.Mode))
	}
	return err
}

// onDisk is what a directory tells of a path.
type onDisk struct {
	Mode, UID uint32
	Sec       int64
	Data      string
}

func expect(e *layers.Entry, c chunks) onDisk {
	typ := map[layers.Type]uint32{layers.Regular: unix.S_IFREG, layers.Dir: unix.S_IFDIR, layers.Symlink: unix.S_IFLNK, layers.Fifo: unix.S_IFIFO}
	d := onDisk{Mode: typ[e.Type] | uint32(e.Mode), UID: e.UID, Sec: e.ModTime.Sec, Data: e.Target}
	for _, x := range e.Extents {
		d.Data += string(c[x.ID])
	}
	return d
}

func walk(root string) (map[string]onDisk, error) {
	m := map[string]onDisk{}
	return m, filepath.WalkDir(root, func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st syscall.Stat_t
		if err := syscall.Lstat(name, &st); err == syscall.ENOENT {
			return nil // a whiteout with nothing below: listed, but not there
		} else if err != nil {
			return err
		}
		d := onDisk{Mode: st.Mode, UID: st.Uid, Sec: st.Mtim.Sec}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFLNK:
			d.Data, err = os.Readlink(name)
		case unix.S_IFREG:
			var data []byte
			data, err = os.ReadFile(name)
			d.Data = string(data)
		}
		m[strings.TrimPrefix(strings.TrimPrefix(name, root), "/")] = d
		return err
	})
}
