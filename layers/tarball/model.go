package tarball

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"satchel/layers"
)

// maxLinks is how many symbolic links are followed for one name, as in Linux.
const maxLinks = 40

// A node is a name in the model. Names of one file share its entry, whose Path
// counts for nothing.
type node struct {
	file   *layers.Entry    // nil: a directory that no entry speaks of
	kids   map[string]*node // of a directory, else nil
	parent *node            // of a directory; nil for the root
	length int              // of a directory's path, in bytes
	layer  int              // the archive that it comes from
}

func newDir() *node { return &node{kids: map[string]*node{}} }

// mkdir makes a directory.
func (n *node) mkdir(name string, layer int) *node {
	kid := newDir()
	kid.parent, kid.length, kid.layer = n, n.length+1+len(name), layer
	n.kids[name] = kid
	return kid
}

// put places a file in a directory. A directory that is there already only
// changes in what it carries; anything else is replaced with all below it.
func (n *node) put(name string, file *layers.Entry, layer int) {
	old := n.kids[name]
	if file.Type != layers.Dir {
		n.kids[name] = &node{file: file, layer: layer}
		return
	}
	if old == nil || old.kids == nil {
		opaque := old != nil && old.file.Type == layers.Whiteout
		old = n.mkdir(name, layer)
		file.Opaque = opaque
	} else if old.file != nil {
		file.Opaque = old.file.Opaque
	}
	old.file, old.layer = file, layer
}

// makeOpaque makes a directory opaque; no other file hides what is below it.
func (n *node) makeOpaque() {
	if n.kids == nil {
		return
	}
	if n.file == nil {
		n.file = impliedDir()
	}
	n.file.Opaque = true
}

func impliedDir() *layers.Entry { return &layers.Entry{Type: layers.Dir, Mode: 0o755} }

// removeBelow removes from a directory what comes from layers before layer.
func (n *node) removeBelow(layer int) {
	for name, kid := range n.kids {
		if kid.layer >= layer {
			continue
		}
		if kid.removeBelow(layer); len(kid.kids) == 0 {
			delete(n.kids, name)
		}
	}
}

// dir returns the directory at a path and makes it if need be. Symbolic links
// are followed, below the root.
func (im *Importer) dir(path string) (*node, error) {
	at, links := im.root, 0
	for rest := path; rest != ""; {
		var elem string
		elem, rest, _ = strings.Cut(rest, "/")
		switch elem {
		case "", ".":
			continue
		case "..":
			if at.parent != nil {
				at = at.parent
			}
			continue
		}
		next := at.kids[elem]
		switch {
		case next == nil:
			if err := layers.CheckPath(elem); err != nil {
				return nil, err
			}
			if next = at.mkdir(elem, im.layer); next.length > layers.MaxPath {
				return nil, fmt.Errorf("path is longer than %d bytes", layers.MaxPath)
			}
		case next.kids != nil:
		case next.file.Type == layers.Whiteout:
			at.put(elem, impliedDir(), im.layer)
			next = at.kids[elem]
		case next.file.Type == layers.Symlink:
			if links++; links > maxLinks || len(rest)+len(next.file.Target) > 2*layers.MaxPath {
				return nil, errors.New("too many symbolic links")
			}
			if strings.HasPrefix(next.file.Target, "/") {
				at = im.root
			}
			rest = next.file.Target + "/" + rest
			continue
		default:
			return nil, fmt.Errorf("%.300q is not a directory", elem)
		}
		at = next
	}
	return at, nil
}

// tree reads the tree off a model.
func (n *node) tree() layers.Tree {
	f := flattener{first: map[*layers.Entry]string{}}
	f.add("", n)
	return f.tree
}

type flattener struct {
	tree  layers.Tree
	first map[*layers.Entry]string
}

func (f *flattener) add(path string, n *node) {
	if n.file != nil {
		if first, ok := f.first[n.file]; ok {
			f.tree = append(f.tree, layers.Entry{Path: path, Type: layers.Hardlink, Target: first})
			return
		}
		f.first[n.file] = path
		e := *n.file
		e.Path = path
		f.tree = append(f.tree, e)
	}
	for _, name := range slices.Sorted(maps.Keys(n.kids)) {
		p := name
		if path != "" {
			p = path + "/" + name
		}
		f.add(p, n.kids[name])
	}
}
