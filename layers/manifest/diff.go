package manifest

import (
	"context"
	"fmt"
	"iter"

	"satchel/layers"
	"satchel/store"
)

// A Change is what happened to one path between two trees.
type Change struct {
	Path string
	From *layers.Entry // nil: the path was added
	To   *layers.Entry // nil: the path was removed
}

// Diff yields what changed between two stored trees, in the order of paths. It
// reads only nodes that differ, so its cost is in proportion to the changes. It
// ends after the first error.
func Diff(ctx context.Context, g store.Getter, from, to layers.Root) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		d := &differ{ctx: ctx, get: g, budget: maxTreeExtents}
		a, b := newCursor(from), newCursor(to)
		for !a.done() || !b.done() {
			c, err := d.step(a, b)
			if err != nil {
				yield(Change{}, fmt.Errorf("compare trees %s and %s: %w", from.ID.Short(), to.ID.Short(), err))
				return
			}
			if (c.From != nil || c.To != nil) && !yield(c, nil) {
				return
			}
		}
	}
}

type differ struct {
	ctx    context.Context
	get    store.Getter
	budget int64
}

// step moves one or both cursors on and returns the change it met, if any.
func (d *differ) step(a, b *cursor) (c Change, err error) {
	order := a.compare(b)
	switch {
	case order == 0 && a.node() && b.node() && a.head.id == b.head.id:
		a.next()
		b.next()
	case a.node() && (order < 0 || order == 0 && (!b.node() || a.level >= b.level)):
		if b.node() && order == 0 && a.level == b.level {
			if err := b.open(d.ctx, d.get); err != nil {
				return c, err
			}
		}
		err = a.open(d.ctx, d.get)
	case b.node() && order >= 0:
		err = b.open(d.ctx, d.get)
	case order < 0:
		c.From, err = d.entry(a.next())
	case order > 0:
		c.To, err = d.entry(b.next())
	default:
		if x, y := a.next(), b.next(); !x.same(y) {
			if c.From, err = d.entry(x); err == nil {
				c.To, err = d.entry(y)
			}
		}
	}
	switch {
	case c.To != nil:
		c.Path = c.To.Path
	case c.From != nil:
		c.Path = c.From.Path
	}
	return c, err
}

// entry returns the record's entry with all its extents.
func (d *differ) entry(r *record) (*layers.Entry, error) {
	if err := r.resolve(d.ctx, d.get, &d.budget); err != nil {
		return nil, err
	}
	return &r.Entry, nil
}

// A cursor goes over a stored tree in order and stands on a node that is not
// opened yet, or on a record of an open leaf.
type cursor struct {
	stack []*node // open nodes, what is still to come of each
	level int     // of the node it stands on; -1: a record
	head  child   // the node it stands on, or the record's path
}

func newCursor(root layers.Root) *cursor {
	c := &cursor{level: maxLevel + 1}
	if root.Entries > 0 {
		// What stands above the root: its level and first path are not known
		// before it is opened.
		top := &node{level: maxLevel + 2, children: []child{{id: root.ID, entries: root.Entries}}}
		c.stack = []*node{top}
		c.head = top.children[0]
	}
	return c
}

func (c *cursor) done() bool { return len(c.stack) == 0 }
func (c *cursor) node() bool { return !c.done() && c.level >= 0 }

// compare orders two cursors by path; one at its end comes last.
func (c *cursor) compare(o *cursor) int {
	switch {
	case c.done():
		return 1
	case o.done():
		return -1
	}
	return layers.ComparePaths(c.head.first, o.head.first)
}

// next moves past where the cursor stands and returns the record there, if it
// was one.
func (c *cursor) next() (r *record) {
	top := c.stack[len(c.stack)-1]
	if top.level == 0 {
		r, top.records = &top.records[0], top.records[1:]
	} else {
		top.children = top.children[1:]
	}
	c.settle()
	return r
}

// open reads the node that the cursor stands on and moves into it.
func (c *cursor) open(ctx context.Context, g store.Getter) error {
	level := c.level
	if level > maxLevel {
		level = -1
	}
	n, err := readNode(ctx, g, c.head, level)
	if err != nil {
		return err
	}
	top := c.stack[len(c.stack)-1]
	if top.children = top.children[1:]; len(top.children) > 0 {
		if end := top.children[0].first; layers.ComparePaths(n.last(), end) >= 0 {
			return corrupt("node %s reaches past path %.200q", c.head.id.Short(), end)
		}
	}
	c.stack = append(c.stack, n)
	c.settle()
	return nil
}

// settle drops nodes of which nothing is left and looks at what comes next.
func (c *cursor) settle() {
	for ; len(c.stack) > 0; c.stack = c.stack[:len(c.stack)-1] {
		top := c.stack[len(c.stack)-1]
		switch {
		case len(top.records) > 0:
			c.level, c.head = -1, child{first: top.records[0].Path}
			return
		case len(top.children) > 0:
			c.level, c.head = int(top.level)-1, top.children[0]
			return
		}
	}
}
