package compose

import (
	"context"
	"strings"

	"satchel/layers"
)

// A frame is an open directory of the result.
type frame struct {
	path    string
	implied int         // its index in the result when no layer has an entry for it, else -1
	newest  layers.Time // of what is directly in it
	opaque  int         // the topmost layer that hides all below it from here, or 0
}

// A view is what one layer provides at the current path: an entry, or nil for
// an implied directory.
type view struct {
	layer int
	entry *layers.Entry
}

// dir reports whether the view is of a directory.
func (v view) dir() bool { return v.entry == nil || v.entry.Type == layers.Dir }

// walk visits all paths in order. Every layer's cursor stands at an entry that
// nothing seen so far hides.
func (c *composer) walk(ctx context.Context) error {
	if err := c.visit(ctx, ""); err != nil {
		return err
	}
	for {
		path, ok := c.least()
		if !ok {
			c.leave(0)
			return nil
		}
		top := len(c.open) - 1
		for !under(path, c.open[top].path) {
			top--
		}
		c.leave(top + 1)
		if err := c.visit(ctx, step(c.open[top].path, path)); err != nil {
			return err
		}
	}
}

// least returns the first path in order that any layer still has.
func (c *composer) least() (path string, ok bool) {
	for i := range c.stack {
		if e := c.peek(i); e != nil && (!ok || layers.ComparePaths(e.Path, path) < 0) {
			path, ok = e.Path, true
		}
	}
	return path, ok
}

// peek returns the entry at a layer's cursor, or nil at the end.
func (c *composer) peek(layer int) *layers.Entry {
	if t := c.stack[layer].Tree; c.next[layer] < len(t) {
		return &t[c.next[layer]]
	}
	return nil
}

// skip moves a layer's cursor past everything under path.
func (c *composer) skip(layer int, path string) {
	for e := c.peek(layer); e != nil && under(e.Path, path); e = c.peek(layer) {
		c.next[layer]++
	}
}

// visit decides what is at path.
func (c *composer) visit(ctx context.Context, path string) error {
	c.views = c.views[:0]
	for i := len(c.stack) - 1; i >= 0; i-- {
		e := c.peek(i)
		if e != nil && e.Path == path {
			c.next[i]++
		} else {
			e = nil
		}
		if e != nil && e.Type != layers.Dir {
			if child := c.peek(i); child != nil && under(child.Path, path) {
				return &layers.PathError{Path: child.Path, Reason: "lies under what is no directory in layer " + c.stack[i].Name}
			}
		}
		if e != nil || c.implies(i, path) {
			c.views = append(c.views, view{i, e})
		}
	}
	if path == "" || len(c.views) > 0 && c.views[0].dir() {
		c.enter(path)
		return nil
	}
	for i := range c.stack {
		c.skip(i, path)
	}
	if len(c.views) == 0 || c.views[0].entry.Type == layers.Whiteout {
		return nil
	}
	return c.file(ctx, path)
}

// implies reports whether a layer has anything but whiteouts under path.
func (c *composer) implies(layer int, path string) bool {
	t := c.stack[layer].Tree
	for i := c.next[layer]; i < len(t) && under(t[i].Path, path); i++ {
		if t[i].Type != layers.Whiteout {
			return true
		}
	}
	return false
}

// enter opens the directory at path, which the current views begin with. Only
// the root may be in no layer at all.
func (c *composer) enter(path string) {
	views, f := c.views, frame{path: path, implied: -1}
	for i, v := range views {
		floor := -1 // the layer below which nothing of this directory is seen
		switch {
		case !v.dir():
			views, floor = views[:i], v.layer+1
		case v.entry != nil && v.entry.Opaque:
			views, floor, f.opaque = views[:i+1], v.layer, v.layer
		}
		if floor >= 0 {
			for low := range floor {
				c.skip(low, path)
			}
			break
		}
	}
	if len(c.open) > 0 {
		f.opaque = max(f.opaque, c.open[len(c.open)-1].opaque)
	}
	e, owner := c.directory(path, views)
	if owner < 0 {
		f.implied = len(c.out.Tree)
		if len(views) > 0 {
			owner = views[0].layer
		}
	}
	c.emit(e, owner)
	c.open = append(c.open, f)
}

// directory returns the entry of a directory that the views agree on, and its
// owner: -1 when no layer has an entry for it.
func (c *composer) directory(path string, views []view) (e layers.Entry, owner int) {
	e, owner = layers.Entry{Path: path, Type: layers.Dir, Mode: 0o755}, -1
	for i := len(views) - 1; i >= 0; i-- {
		v := views[i]
		if v.entry == nil {
			continue
		}
		if base := c.base(v.layer, path); owner >= 0 && base != nil && base.Type == layers.Dir {
			mergeAttrs(&e, base, v.entry)
		} else {
			copyAttrs(&e, v.entry)
		}
		owner = v.layer
	}
	return e, owner
}

// emit adds an entry to the result.
func (c *composer) emit(e layers.Entry, owner int) {
	if len(c.open) > 0 {
		c.open[len(c.open)-1].newer(e.ModTime)
	}
	c.out.Tree = append(c.out.Tree, e)
	c.out.owners = append(c.out.owners, int32(owner))
}

// leave closes directories until n are open.
func (c *composer) leave(n int) {
	for len(c.open) > n {
		f := c.open[len(c.open)-1]
		c.open = c.open[:len(c.open)-1]
		if f.implied < 0 {
			continue
		}
		c.out.Tree[f.implied].ModTime = f.newest
		if len(c.open) > 0 {
			c.open[len(c.open)-1].newer(f.newest)
		}
	}
}

// newer notes the time of something in the directory.
func (f *frame) newer(t layers.Time) {
	if t.Sec > f.newest.Sec || t.Sec == f.newest.Sec && t.Nsec > f.newest.Nsec {
		f.newest = t
	}
}

// under reports whether path lies below dir, at any depth.
func under(path, dir string) bool {
	if dir == "" {
		return path != ""
	}
	return len(path) > len(dir) && path[len(dir)] == '/' && path[:len(dir)] == dir
}

// step returns the path one name below dir on the way to path.
func step(dir, path string) string {
	from := len(dir)
	if dir != "" {
		from++
	}
	if i := strings.IndexByte(path[from:], '/'); i >= 0 {
		return path[:from+i]
	}
	return path
}
