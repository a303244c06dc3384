package trees

import "satchel/layers"

// settle makes a tree of decisions that were made path by path: what survives
// has its directories around it. A file in the way is kept beside them. A
// directory in which something survives, while a side removed or replaced it
// or what lies below it, hides what lies below.
func (m *merger) settle(places []place) []place {
	needed := needed(places)
	out := places[:0]
	blocked, in := "", false // under what is no directory only whiteouts are left
	for _, p := range places {
		if in && under(p.path, blocked) {
			continue
		}
		in = false
		if _, ok := needed[p.path]; ok && p.dir == nil {
			m.revive(&p)
		}
		if p.dir == nil && (p.file != nil || p.whiteout) {
			blocked, in = p.path, true
		}
		if p.live() || p.whiteout {
			out = append(out, p)
		}
	}
	return out
}

// needed returns the directories of all that survives.
func needed(places []place) map[string]struct{} {
	dirs := map[string]struct{}{}
	last := "/" // no path
	for i := range places {
		if !places[i].live() || places[i].path == "" {
			continue
		}
		dir, _ := layers.SplitPath(places[i].path)
		if dir == last {
			continue
		}
		for last = dir; ; dir, _ = layers.SplitPath(dir) {
			if _, ok := dirs[dir]; ok {
				break
			}
			dirs[dir] = struct{}{}
			if dir == "" {
				break
			}
		}
	}
	return dirs
}

// revive makes a directory of a place that is to be none.
func (m *merger) revive(p *place) {
	if p.file == nil && !p.whiteout && p.spare == nil {
		return // implied
	}
	e := layers.Entry{Type: layers.Dir, Mode: 0o755}
	switch {
	case p.spare != nil:
		e = *p.spare
	case p.base != nil && p.base.Type == layers.Dir:
		e = *p.base
	}
	if p.file != nil {
		side, other := m.ours, m.theirs
		if m.theirs.find(p.path).file() != nil {
			side, other = other, side
		}
		m.keep(p.path, p.file, side, "a file on "+side.title()+" and a directory with changes on "+other.title())
	}
	e.Opaque = e.Opaque || p.file != nil || p.whiteout
	p.dir, p.file, p.whiteout = &e, nil, false
}
