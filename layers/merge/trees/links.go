package trees

import (
	"slices"

	"satchel/layers"
)

// keepLinked puts back files whose contents a side left as they were, and of
// which the other side removed or replaced these names, but kept others that the
// first one has removed or made another file's. Such a file goes to the first of
// its names that nothing else has now, ours first, or is kept.
func (m *merger) keepLinked(places []place) []place {
	var there map[*file]bool
	for i := range m.ancestor.nodes {
		n := &m.ancestor.nodes[i]
		if n.inode == nil || len(n.inode.names) < 2 || n.path != n.inode.names[0] {
			continue
		}
		left := m.left(n.inode)
		if len(left) == 0 {
			continue
		}
		if there == nil {
			there = m.inResult(places)
		}
		if !slices.ContainsFunc(left, func(n *node) bool { return there[n.inode] }) {
			places = m.putBack(places, left)
		}
	}
	return places
}

// left returns where the sides have a file of the ancestor's as it was, if
// neither has removed or changed it.
func (m *merger) left(f *file) []*node {
	ours, theirs := m.ours.unchanged(f), m.theirs.unchanged(f)
	switch {
	case len(ours) > 0 && (len(theirs) > 0 || parted(f, ours, m.ours, m.theirs)),
		len(theirs) > 0 && parted(f, theirs, m.theirs, m.ours):
		return slices.Concat(ours, theirs)
	}
	return nil
}

// parted reports whether of, which has a file as it was at the nodes kept, made
// another of its names another file's, at which the other side has it.
func parted(f *file, kept []*node, of, other *version) bool {
	return slices.ContainsFunc(f.names, func(name string) bool {
		now, there := of.find(name).file(), other.find(name).file()
		return now != nil && there != nil && there.entry.Type == f.entry.Type &&
			!slices.ContainsFunc(kept, func(n *node) bool { return n.inode == now })
	})
}

// unchanged returns where the version has a file of the ancestor's with the same
// contents.
func (v *version) unchanged(f *file) []*node {
	var found []*node
	for _, name := range f.names {
		if n := v.find(name); n.file() != nil && n.inode.entry.SameContent(f.entry) {
			found = append(found, n)
		}
	}
	return found
}

// inResult returns the files whose contents are at places, or kept.
func (m *merger) inResult(places []place) map[*file]bool {
	there := make(map[*file]bool, len(places))
	for i := range places {
		if f := places[i].file; f != nil {
			there[f], there[f.like] = true, true
		}
	}
	for _, k := range m.kept {
		there[k.file] = true
	}
	return there
}

// putBack puts a file that is in the result nowhere to one of the names that it
// has on the sides.
func (m *merger) putBack(places []place, names []*node) []place {
	const reason = "each side removed names that the other one left"
	dirs := needed(places)
	for _, n := range names {
		i, found := slices.BinarySearchFunc(places, n.path, func(p place, path string) int { return layers.ComparePaths(p.path, path) })
		if _, dir := dirs[n.path]; dir || found && places[i].live() {
			continue
		}
		if !found {
			places = slices.Insert(places, i, place{path: n.path})
		}
		p := &places[i]
		p.file, p.whiteout, p.base = n.inode, false, n.base()
		m.conflicts = append(m.conflicts, Conflict{Path: n.path, Reason: reason + "; it stays"})
		return places
	}
	from := m.ours
	if from.find(names[0].path) != names[0] {
		from = m.theirs
	}
	m.keep(names[0].path, names[0].inode, from, reason)
	return places
}
