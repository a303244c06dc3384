package trees

import "satchel/layers"

// bothDirs decides where both sides have a directory.
func (m *merger) bothDirs(a, o, t *node) place {
	p := place{base: m.base(a, o, t)}
	from := a.dir()
	if from == nil {
		if was := m.ours.movedFrom(o.path); was != "" && was == m.theirs.movedFrom(o.path) {
			from = m.ancestor.find(was).dir()
		}
	}
	if from == nil && p.base != nil && p.base.Type == layers.Dir {
		from = p.base
	}
	e := mergeAttrs(from, m.dir(a, o, m.ours, m.theirs), m.dir(a, t, m.theirs, m.ours))
	if anc := a.dir(); anc != nil {
		e.Opaque = pick(anc.Opaque, o.entry.Opaque, t.entry.Opaque)
	} else {
		e.Opaque = o.entry.Opaque || t.entry.Opaque
	}
	p.dir = &e
	return p
}

// oneDir decides where one side, of, has a directory x, and the other side has
// no entry or a whiteout.
func (m *merger) oneDir(a, x, y *node, of, other *version) place {
	e := m.dir(a, x, of, other)
	switch {
	case a.dir() != nil && !y.whiteout() && other.implies(x.path):
		// The other side takes it as the layers below have it.
		if e.Same(a.entry) {
			return place{}
		}
	case a.dir() != nil, a == nil && y.whiteout() && !e.Opaque:
		return place{whiteout: y.whiteout(), spare: e, base: y.base()}
	case a.file() != nil && y.whiteout() && !e.Opaque:
		opaque := *e
		opaque.Opaque = true // what the file hid stays hidden
		e = &opaque
	}
	return place{dir: e, base: x.base()}
}

// fileAndDir decides where one side, of, has a file x, and the other one a
// directory y.
func (m *merger) fileAndDir(a, x, y *node, of, other *version) place {
	e := m.dir(a, y, other, of)
	if a.dir() != nil {
		return place{file: x.inode, spare: e, base: x.base()}
	}
	if anc := a.file(); anc == nil || edited(anc.entry, x.inode.entry) && !m.livesOn(anc, x, of, other) {
		m.keep(x.path, x.inode, of, "a file on "+of.title()+" and a directory on "+other.title())
	}
	return place{dir: e, base: y.base()}
}

// dir returns the directory that a side, of, has at x, where the ancestor has a.
// If the side moved it there, that is with the attributes that the other side
// changed in the old place.
func (m *merger) dir(a, x *node, of, other *version) *layers.Entry {
	was := of.movedFrom(x.path)
	if was == "" || a.dir() != nil {
		return x.entry
	}
	from, there := m.ancestor.find(was).dir(), other.find(was).dir()
	if from == nil || there == nil {
		return x.entry
	}
	ours, theirs := x.entry, there
	if of == m.theirs {
		ours, theirs = theirs, ours
	}
	e, merged := *x.entry, mergeAttrs(from, ours, theirs)
	e.Mode, e.UID, e.GID, e.ModTime, e.Xattrs = merged.Mode, merged.UID, merged.GID, merged.ModTime, merged.Xattrs
	return &e
}
