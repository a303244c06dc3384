package trees

import (
	"context"
	"slices"
	"strings"

	"satchel/layers"
)

// decideAll decides path by path what the result has, in order.
func (m *merger) decideAll(ctx context.Context) ([]place, error) {
	versions := [3]*version{m.ancestor, m.ours, m.theirs}
	var next [3]int
	places := make([]place, 0, max(len(m.ours.nodes), len(m.theirs.nodes)))
	for {
		path, ok := "", false
		for i, v := range versions {
			if next[i] < len(v.nodes) {
				if p := v.nodes[next[i]].path; !ok || layers.ComparePaths(p, path) < 0 {
					path, ok = p, true
				}
			}
		}
		if !ok {
			return places, nil
		}
		var at [3]*node
		for i, v := range versions {
			if next[i] < len(v.nodes) && v.nodes[next[i]].path == path {
				at[i] = &v.nodes[next[i]]
				next[i]++
			}
		}
		p, err := m.decide(ctx, at[0], at[1], at[2])
		if err != nil {
			return nil, err
		}
		p.path = path
		if p.live() || p.whiteout || p.spare != nil {
			places = append(places, p)
		}
	}
}

// decide decides what the result has where the versions have a, o and t.
func (m *merger) decide(ctx context.Context, a, o, t *node) (place, error) {
	switch {
	case o.gone() && t.gone():
		return m.bothGone(a, o, t), nil
	case o.file() != nil && t.file() != nil:
		return m.bothFiles(ctx, a, o, t)
	case o.dir() != nil && t.dir() != nil:
		return m.bothDirs(a, o, t), nil
	case o.file() != nil && t.gone():
		return m.oneFile(ctx, a, o, t, m.ours, m.theirs)
	case t.file() != nil && o.gone():
		return m.oneFile(ctx, a, t, o, m.theirs, m.ours)
	case o.dir() != nil && t.gone():
		return m.oneDir(a, o, t, m.ours, m.theirs), nil
	case t.dir() != nil && o.gone():
		return m.oneDir(a, t, o, m.theirs, m.ours), nil
	case o.file() != nil:
		return m.fileAndDir(a, o, t, m.ours, m.theirs), nil
	default:
		return m.fileAndDir(a, t, o, m.theirs, m.ours), nil
	}
}

// bothGone decides between a whiteout and nothing: what one side changed, or
// else the whiteout.
func (m *merger) bothGone(a, o, t *node) place {
	p := place{whiteout: o.whiteout() || t.whiteout()}
	if o.whiteout() != t.whiteout() && a.whiteout() {
		p.whiteout = false // one side has what lies below show again
	}
	if p.whiteout {
		p.base = m.base(a, o, t)
	}
	return p
}

// bothFiles decides where both sides have a file.
func (m *merger) bothFiles(ctx context.Context, a, o, t *node) (place, error) {
	anc := a.file()
	if from := m.ours.from(o.inode, m.ancestor); anc == nil && from != nil && from == m.theirs.from(t.inode, m.ancestor) {
		anc = from
	}
	f, err := m.file(ctx, spot{o.path, a.base(), o.base(), t.base()}, triple{anc, o.inode, t.inode})
	p := place{file: f}
	switch {
	case err != nil:
	case o.inode.entry.SameContent(t.inode.entry):
		p.base = m.base(a, o, t)
	case f.entry.SameContent(t.inode.entry) && !f.merged:
		p.base = t.base()
	default:
		p.base = o.base()
	}
	return p, err
}

// oneFile decides where one side, of, has a file x, and the path is gone on the
// other side.
func (m *merger) oneFile(ctx context.Context, a, x, y *node, of, other *version) (place, error) {
	removed := place{whiteout: y.whiteout(), base: y.base()}
	kept := place{file: x.inode, base: x.base()}
	if anc := a.file(); anc != nil {
		if !edited(anc.entry, x.inode.entry) || m.livesOn(anc, x, of, other) {
			return removed, nil
		}
		m.conflicts = append(m.conflicts, Conflict{Path: x.path, Reason: "changed on " + of.title() + " and removed on " + other.title() + "; it stays"})
		return kept, nil
	}
	anc := of.from(x.inode, m.ancestor)
	if anc == nil {
		return kept, nil
	}
	y1 := other.heir(anc)
	if y1 == nil {
		return kept, nil
	}
	k := triple{anc, x.inode, y1}
	if of == m.theirs {
		k = triple{anc, y1, x.inode}
	}
	var err error
	kept.file, err = m.file(ctx, spot{path: x.path}, k)
	return kept, err
}

// livesOn reports whether the file x, which the other side removed from its
// path, is in the result under another name.
func (m *merger) livesOn(anc *file, x *node, of, other *version) bool {
	for _, name := range x.inode.names {
		if name != x.path && other.find(name).file() != nil {
			return true
		}
	}
	now := other.moved[anc]
	return now != nil && of.find(now.names[0]).gone() && of.heir(anc) == x.inode
}

// base returns the base of a path at which both sides have the same, or what
// was merged: the one that a side changed, or else ours.
func (m *merger) base(a, o, t *node) *layers.Entry {
	switch {
	case o == nil:
		return t.base()
	case t == nil:
		return o.base()
	}
	anc, ours, theirs := a.base(), o.base(), t.base()
	if a != nil && same(anc, ours) {
		return theirs
	}
	return ours
}

func same(a, b *layers.Entry) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Same(b)
}

// edited reports whether a file differs in more than its time.
func edited(from, to *layers.Entry) bool {
	at := *to
	at.ModTime = from.ModTime
	return !at.Same(from)
}

// pick merges one value three ways; ours wins.
func pick[T comparable](a, o, t T) T {
	if o == a {
		return t
	}
	return o
}

// mergeAttrs returns ours with the attributes that only theirs changed or added,
// and the newer time if both changed that.
func mergeAttrs(a, o, t *layers.Entry) layers.Entry {
	e := *o
	newer := o.ModTime
	if t.ModTime.Time().After(o.ModTime.Time()) {
		newer = t.ModTime
	}
	if a == nil {
		e.ModTime, e.Xattrs = newer, mergeXattrs(nil, o.Xattrs, t.Xattrs)
		return e
	}
	e.Mode = pick(a.Mode, o.Mode, t.Mode)
	e.UID = pick(a.UID, o.UID, t.UID)
	e.GID = pick(a.GID, o.GID, t.GID)
	e.Xattrs = mergeXattrs(a.Xattrs, o.Xattrs, t.Xattrs)
	switch a.ModTime {
	case o.ModTime:
		e.ModTime = t.ModTime
	case t.ModTime:
	default:
		e.ModTime = newer
	}
	return e
}

func mergeXattrs(a, o, t []layers.Xattr) []layers.Xattr {
	value := func(xs []layers.Xattr, name string) (v string, ok bool) {
		for _, x := range xs {
			if x.Name == name {
				return string(x.Value), true
			}
		}
		return "", false
	}
	out := slices.DeleteFunc(slices.Clone(o), func(x layers.Xattr) bool {
		before, had := value(a, x.Name)
		_, has := value(t, x.Name)
		return had && !has && before == string(x.Value)
	})
	for _, x := range t {
		before, had := value(a, x.Name)
		ours, has := value(o, x.Name)
		i, _ := slices.BinarySearchFunc(out, x.Name, func(y layers.Xattr, name string) int { return strings.Compare(y.Name, name) })
		switch {
		case !has && (!had || before != string(x.Value)):
			out = slices.Insert(out, i, x)
		case has && had && ours == before:
			out[i] = x
		}
	}
	return out
}
