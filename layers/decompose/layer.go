package decompose

import (
	"satchel/layers"
)

// A layer is a tree with edits.
type layer struct {
	old   layers.Tree
	edits map[string]*node // by path; nil: removed
}

// A node is a path's new entry, never a hard link.
type node struct {
	entry layers.Entry
	group string // what the names of one file share; "": it has one name
}

func newLayer(t layers.Tree) *layer { return &layer{t, map[string]*node{}} }

// get returns the entry that the layer holds at a path, or nil.
func (l *layer) get(path string) *layers.Entry {
	if n, ok := l.edits[path]; ok {
		if n == nil {
			return nil
		}
		return &n.entry
	}
	return l.old.Find(path)
}

func (l *layer) set(e layers.Entry, group string) { l.edits[e.Path] = &node{e, group} }

func (l *layer) remove(path string) { l.edits[path] = nil }

// tree returns the layer's new tree, in which the first name that is left of
// each file carries it.
func (l *layer) tree() layers.Tree {
	linked := map[string]bool{}
	for i := range l.old {
		if e := &l.old[i]; e.Type == layers.Hardlink {
			linked[e.Target] = true
		}
	}
	nodes := make(map[string]node, len(l.old)+len(l.edits))
	out := make(layers.Tree, 0, len(l.old)+len(l.edits))
	for i := range l.old {
		e := &l.old[i]
		if _, edited := l.edits[e.Path]; edited {
			continue
		}
		file := *l.old.Resolve(e)
		n := node{entry: file}
		if linked[file.Path] {
			n.group = "old\x00" + file.Path
		}
		n.entry.Path = e.Path
		nodes[e.Path] = n
		out = append(out, n.entry)
	}
	for path, n := range l.edits {
		if n == nil {
			continue
		}
		nodes[path] = *n
		out = append(out, n.entry)
	}
	out.Sort()
	first := map[string]string{}
	for i := range out {
		n := nodes[out[i].Path]
		if n.group == "" {
			continue
		}
		if carrier, ok := first[n.group]; ok {
			out[i] = layers.Entry{Path: out[i].Path, Type: layers.Hardlink, Target: carrier}
		} else {
			first[n.group] = out[i].Path
		}
	}
	return out
}
