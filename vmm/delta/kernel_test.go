package delta

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"satchel/layers"
)

// kernelTree is what Read should find, as the kernel tells it: with stat(2),
// readlink(2) and getxattr(2) on a mounted disk.
func kernelTree(t *testing.T, root string) layers.Tree {
	t.Helper()
	var tree layers.Tree
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel := strings.TrimPrefix(strings.TrimPrefix(path, root), "/")
		if d.Type() != fs.ModeSocket {
			tree = append(tree, kernelEntry(t, path, rel))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	tree.Sort()
	first := make(map[uint64]string)
	for i := range tree {
		e := &tree[i]
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(root, e.Path), &st); err != nil {
			t.Fatal(err)
		}
		if e.Type == layers.Dir || e.Type == layers.Whiteout || st.Nlink < 2 {
			continue
		}
		if target, ok := first[st.Ino]; ok {
			*e = layers.Entry{Path: e.Path, Type: layers.Hardlink, Target: target}
		} else {
			first[st.Ino] = e.Path
		}
	}
	return tree
}

func kernelEntry(t *testing.T, path, rel string) layers.Entry {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	e := layers.Entry{
		Path: rel, Mode: uint16(st.Mode & 0o7777), UID: st.Uid, GID: st.Gid,
		ModTime: layers.Time{Sec: st.Mtim.Sec, Nsec: uint32(st.Mtim.Nsec)},
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		e.Type = layers.Regular
		e.Size, e.Extents = kernelBlocks(t, path)
	case unix.S_IFDIR:
		e.Type = layers.Dir
	case unix.S_IFLNK:
		e.Type = layers.Symlink
		target, err := os.Readlink(path)
		if err != nil {
			t.Fatal(err)
		}
		e.Target = target
	case unix.S_IFIFO:
		e.Type = layers.Fifo
	case unix.S_IFBLK, unix.S_IFCHR:
		e.Type = layers.BlockDev
		e.Major, e.Minor = unix.Major(st.Rdev), unix.Minor(st.Rdev)
		if st.Mode&unix.S_IFMT == unix.S_IFCHR {
			e.Type = layers.CharDev
			if st.Rdev == 0 {
				return layers.Entry{Path: rel, Type: layers.Whiteout}
			}
		}
	}
	e.Xattrs = kernelXattrs(t, path)
	return e
}

func kernelXattrs(t *testing.T, path string) (list []layers.Xattr) {
	t.Helper()
	names := make([]byte, 1<<16)
	n, err := unix.Llistxattr(path, names)
	if err != nil {
		t.Fatal(err)
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(names[:n]), "\x00"), "\x00") {
		if name == "" || strings.HasPrefix(name, overlayPrefix) && !strings.HasPrefix(name, nestedPrefix) {
			continue
		}
		value := make([]byte, 1<<16)
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, layers.Xattr{Name: name, Value: value[:n]})
	}
	slices.SortFunc(list, func(a, b layers.Xattr) int { return strings.Compare(a.Name, b.Name) })
	return list
}
