package decompose

import (
	"fmt"

	"satchel/layers"
)

// A stack is the layers that changes may go to, lowest first.
type stack struct {
	in     *Input
	kinds  []layers.Kind
	layers []*layer
}

// kinds returns the kinds of the layers that changes may go to.
func (in *Input) kinds() []layers.Kind {
	if in.Into != "" {
		return []layers.Kind{in.Into}
	}
	var out []layers.Kind
	for _, kind := range layers.Kinds {
		if _, ok := in.Layers[kind]; ok && kind.Writable() {
			out = append(out, kind)
		}
	}
	return out
}

func (in *Input) stack() *stack {
	s := &stack{in: in, kinds: in.kinds()}
	for _, kind := range s.kinds {
		s.layers = append(s.layers, newLayer(in.Layers[kind]))
	}
	return s
}

// apply brings one change into the trees. Changes come in the order of paths,
// so that everything on the way to this one is as it will be.
func (s *stack) apply(c *change, v *verdict) {
	level := s.level(v.kind)
	floor, cut := s.floor(parentOf(c.path))
	switch {
	case c.entry == nil:
		level = max(level, floor)
		s.remove(c, level, cut)
	case c.entry.Type == layers.Dir && !c.newDir():
		inner, _ := s.floor(&c.path)
		level = max(level, floor, inner, s.holder(c.path))
		e := *c.entry
		held := s.layers[level].get(c.path)
		e.Opaque = held != nil && held.Type == layers.Dir && held.Opaque
		s.layers[level].set(e, "")
	default:
		level = max(level, floor, s.holder(c.path))
		e := *c.entry
		e.Path, e.Opaque = c.path, false
		if e.Type == layers.Dir {
			below := s.below(level, c.path)
			e.Opaque = below != nil && below.Type == layers.Dir
		}
		s.clear(c.path)
		s.layers[level].set(e, c.group)
	}
	if got := s.kinds[level]; got != v.kind {
		v.reason += fmt.Sprintf("; kept in %s, which holds this place already and would hide it in %s", got, v.kind)
		v.kind = got
	}
}

// level is the place of a kind in the stack.
func (s *stack) level(kind layers.Kind) int {
	for i, k := range s.kinds {
		if k == kind {
			return i
		}
	}
	return len(s.kinds) - 1
}

// holder returns the topmost layer that holds a path, or -1.
func (s *stack) holder(path string) int {
	for i := len(s.layers) - 1; i >= 0; i-- {
		if s.layers[i].get(path) != nil {
			return i
		}
	}
	return -1
}

// parentOf returns the directory that a path is in, or nil for the root.
func parentOf(path string) *string {
	if path == "" {
		return nil
	}
	dir := parent(path)
	return &dir
}

// floor returns the lowest layer whose entries in a directory are seen, and
// whether anything cuts off the layers below the stack.
func (s *stack) floor(dir *string) (floor int, cut bool) {
	for ; dir != nil; dir = parentOf(*dir) {
		for i := len(s.layers) - 1; i >= 0; i-- {
			e := s.layers[i].get(*dir)
			if e == nil || e.Type == layers.Dir && !e.Opaque {
				continue
			}
			if e.Type != layers.Dir {
				i++
			}
			floor, cut = max(floor, i), true
			break
		}
	}
	return min(floor, len(s.layers)-1), cut
}

// clear takes everything under a path out of the stack.
func (s *stack) clear(path string) {
	for _, l := range s.layers {
		for _, e := range l.old.Under(path) {
			l.remove(e.Path)
		}
	}
}

// remove takes a path out of the stack, and whites it out at a level when what
// lies below the stack would show.
func (s *stack) remove(c *change, level int, cut bool) {
	s.clear(c.path)
	for _, l := range s.layers {
		if l.get(c.path) != nil {
			l.remove(c.path)
		}
	}
	if !cut && s.below(0, c.path) != nil {
		s.layers[level].set(layers.Entry{Path: c.path, Type: layers.Whiteout}, "")
	}
	s.pin(parent(c.path), level)
}

// pin gives a directory an entry when no layer that is seen there has one: it
// was there only because of what is gone now.
func (s *stack) pin(dir string, level int) {
	e := s.in.Lower.Find(dir)
	if dir == "" || e == nil || e.Type != layers.Dir {
		return
	}
	floor, cut := s.floor(parentOf(dir))
	for i := len(s.layers) - 1; i >= floor; i-- {
		held := s.layers[i].get(dir)
		switch {
		case held == nil:
		case held.Type == layers.Dir:
			return
		default:
			s.layers[min(i+1, len(s.layers)-1)].set(*e, "")
			return
		}
	}
	if below := s.below(0, dir); cut || below == nil || below.Type != layers.Dir {
		s.layers[max(level, floor)].set(*e, "")
	}
}
