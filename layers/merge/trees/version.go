package trees

import (
	"slices"

	"satchel/layers"
)

// A file is contents and attributes with their names, of any type but
// directory and whiteout.
type file struct {
	entry   *layers.Entry // no hard link; its path means nothing here
	names   []string      // in order; of a merged file none
	merged  bool          // its contents are of both sides
	like    *file         // of a new file whose contents are one side's, that side's
	carrier string        // its first path in the result, see assemble
}

// A node is an entry of a version, with hard links resolved.
type node struct {
	path  string // where the merge sees it; see readdress
	entry *layers.Entry
	inode *file         // nil of a directory or whiteout
	hid   *layers.Entry // in the layers below, where its version has it
}

func (n *node) file() *file {
	if n == nil {
		return nil
	}
	return n.inode
}

func (n *node) dir() *layers.Entry {
	if n == nil || n.entry.Type != layers.Dir {
		return nil
	}
	return n.entry
}

func (n *node) whiteout() bool { return n != nil && n.entry.Type == layers.Whiteout }

func (n *node) gone() bool { return n == nil || n.entry.Type == layers.Whiteout }

// A version is the ancestor or a side, ready to be merged.
type version struct {
	*Side
	nodes []node // ordered by path
	// What was moved since the ancestor, see follow: where the ancestor's
	// files are now, the inverse of that, and the same of directories.
	moved, origin  map[*file]*file
	dirs, dirsFrom map[string]string
}

func load(s *Side) *version {
	v := &version{Side: s, nodes: make([]node, len(s.Tree)), moved: map[*file]*file{}, origin: map[*file]*file{}, dirs: map[string]string{}, dirsFrom: map[string]string{}}
	files := make([]file, len(s.Tree))
	names := make([]string, len(s.Tree))
	base := s.Base
	for i := range s.Tree {
		e := &s.Tree[i]
		n := &v.nodes[i]
		*n = node{path: e.Path, entry: e}
		for len(base) > 0 && base[0].Path != e.Path && layers.ComparePaths(base[0].Path, e.Path) < 0 {
			base = base[1:]
		}
		if len(base) > 0 && base[0].Path == e.Path {
			n.hid, base = s.Base.Resolve(&base[0]), base[1:]
		}
		switch e.Type {
		case layers.Dir, layers.Whiteout:
		case layers.Hardlink:
			first, ok := s.Tree.Index(e.Target)
			if !ok || first >= i || v.nodes[first].inode == nil {
				files[i].entry = v.Tree.Resolve(e)
				continue
			}
			n.inode = v.nodes[first].inode
			n.inode.names = append(n.inode.names, e.Path)
		default:
			names[i] = e.Path
			files[i] = file{entry: e, names: names[i : i+1 : i+1]}
			n.inode = &files[i]
		}
	}
	return v
}

// search returns where path is among the nodes, or where it would be.
func (v *version) search(path string) (int, bool) {
	return slices.BinarySearchFunc(v.nodes, path, func(n node, p string) int { return layers.ComparePaths(n.path, p) })
}

// find returns the node at path, or nil.
func (v *version) find(path string) *node {
	if i, ok := v.search(path); ok {
		return &v.nodes[i]
	}
	return nil
}

// implies reports whether the version has anything but whiteouts under path.
func (v *version) implies(path string) bool {
	i, ok := v.search(path)
	if ok {
		i++
	}
	for ; i < len(v.nodes) && under(v.nodes[i].path, path); i++ {
		if !v.nodes[i].whiteout() {
			return true
		}
	}
	return false
}

// hides reports whether the version hides what the layers below have at path.
func (v *version) hides(path string) bool {
	for ; path != ""; path, _ = layers.SplitPath(path) {
		if n := v.find(path); n != nil && (n.dir() == nil || n.entry.Opaque) {
			return true
		}
	}
	return false
}

// base returns what a node hid below its layer, as a file of its own, or nil.
// What the merge sees elsewhere hid nothing there.
func (n *node) base() *layers.Entry {
	if n == nil || n.path != n.entry.Path {
		return nil
	}
	return n.hid
}

// from returns the ancestor's file that f was made from, or nil.
func (v *version) from(f *file, ancestor *version) *file {
	if o := v.origin[f]; o != nil {
		return o
	}
	if len(f.names) == 1 {
		return nil // its only name would have been found by path
	}
	return ancestor.heir(f)
}

// heir returns the file that has one of the names of another version's file: if
// those are several's, the one with its contents, or else the first. Or nil.
func (v *version) heir(f *file) *file {
	var first *file
	for _, name := range f.names {
		switch now := v.find(name).file(); {
		case now == nil:
		case now.entry.SameContent(f.entry):
			return now
		case first == nil:
			first = now
		}
	}
	return first
}
