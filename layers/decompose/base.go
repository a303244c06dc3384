package decompose

import "satchel/layers"

// below returns what lies at a path below a level of the stack, as a file of
// its own, or nil.
func (s *stack) below(level int, path string) *layers.Entry {
	find := func(p string) *layers.Entry { return s.in.Below(s.kinds[level], p) }
	if s.in.Into != "" && len(s.in.Layers[s.in.Into]) == 0 {
		find = s.in.Lower.Find // a new layer lies on top of everything
	}
	e := find(path)
	if e == nil || e.Type != layers.Hardlink {
		return e
	}
	file := find(e.Target)
	if file == nil {
		return nil
	}
	own := *file
	own.Path = path
	return &own
}

// base returns the new base of a level: at paths that this session changed,
// what lies below now; at the others, what the old base has.
func (s *stack) base(level int) layers.Tree {
	old := s.in.Bases[s.kinds[level]]
	l := s.layers[level]
	var out layers.Tree
	for i := range old {
		e := &old[i]
		if _, edited := l.edits[e.Path]; edited || l.get(e.Path) == nil {
			continue
		}
		own := *old.Resolve(e)
		own.Path = e.Path
		out = append(out, own)
	}
	for path, n := range l.edits {
		if n == nil {
			continue
		}
		if e := s.below(level, path); e != nil {
			out = append(out, *e)
		}
	}
	out.Sort()
	return out
}
