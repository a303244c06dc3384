package mount

import (
	"context"
	"sort"
	"strings"

	"golang.org/x/sys/unix"

	"satchel/layers"
	"satchel/layers/treefs"
	"satchel/store"
)

// directFlags are for mounts without the help of fusermount3.
const directFlags = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV

// A view is a tree with its contents.
type view struct {
	ctx   context.Context
	tree  layers.Tree
	get   store.Getter
	names *treefs.FS
	links map[string]uint32 // first path of a file to its further names
}

// countLinks counts the hard links to each first path.
func countLinks(t layers.Tree) map[string]uint32 {
	links := make(map[string]uint32)
	for i := range t {
		if t[i].Type == layers.Hardlink {
			links[t[i].Target]++
		}
	}
	return links
}

// node returns the file at a path of the tree.
func (v *view) node(path string) (*node, error) {
	name := path
	if name == "" {
		name = "."
	}
	e, err := v.names.Entry(name)
	if err != nil {
		return nil, err
	}
	ino, first := v.number(path)
	return &node{view: v, path: path, entry: e, ino: ino, links: 1 + v.links[first]}, nil
}

// number returns the inode number of the file at path, and its first path. A
// file has the place in the tree of its entry. An implied directory has none:
// it has the place of the first entry below it, and its depth above bit 40,
// since one entry may imply several.
func (v *view) number(path string) (ino uint64, first string) {
	i, ok := v.tree.Index(path)
	if path == "" {
		return 1, path
	}
	if !ok {
		depth := uint64(1 + strings.Count(path, "/"))
		return depth<<40 | uint64(i), path
	}
	if e := &v.tree[i]; e.Type == layers.Hardlink {
		path = e.Target
		i, _ = v.tree.Index(path)
	}
	return uint64(i) + 2, path
}

// nextData returns the first place at or after off that is in a chunk, if data
// is set, or in a hole, if not. The end of the file counts as a hole. It
// returns false when there is no such place.
func nextData(e *layers.Entry, off int64, data bool) (int64, bool) {
	if off < 0 || off >= e.Size {
		return 0, false
	}
	at := int64(0)
	for _, x := range e.Extents {
		at += x.Len
		if at > off && x.ID.IsZero() != data {
			return max(off, at-x.Len), true
		}
	}
	return e.Size, !data
}

// allocated counts the bytes of a file that are not in holes.
func allocated(e *layers.Entry) (n int64) {
	for _, x := range e.Extents {
		if !x.ID.IsZero() {
			n += x.Len
		}
	}
	return n
}

// xattr finds an attribute by name.
func xattr(e *layers.Entry, name string) ([]byte, bool) {
	i := sort.Search(len(e.Xattrs), func(i int) bool { return e.Xattrs[i].Name >= name })
	if i < len(e.Xattrs) && e.Xattrs[i].Name == name {
		return e.Xattrs[i].Value, true
	}
	return nil, false
}
