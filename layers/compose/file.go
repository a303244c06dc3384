package compose

import (
	"context"
	"slices"

	"satchel/layers"
	"satchel/layers/merge"
)

// A file is what some layers of a chain make of a path together.
type file struct {
	entry layers.Entry // never a hard link
	layer int          // whose attributes these are
	whole bool         // just as that layer has it, so that it may stay linked
	data  []byte       // the content when merging made it: it has no extents yet
	made  bool         // data is valid
	gone  bool         // merging left nothing
}

// file puts into the result what the current views, which begin with a file,
// make of path.
func (c *composer) file(ctx context.Context, path string) error {
	chain := c.chain()
	cur := c.fileOf(chain[len(chain)-1])
	var note string // why the topmost file is a shadow
	if len(chain) == 1 {
		note = c.stranded(path)
	}
	driver := merge.For(path)
	for _, v := range slices.Backward(chain[:len(chain)-1]) {
		upper := c.fileOf(v)
		base := c.base(v.layer, path)
		var err error
		if driver != nil && upper.entry.Type == layers.Regular && cur.entry.Type == layers.Regular {
			note = ""
			cur, err = c.mergeRegistry(ctx, driver, path, base, cur, upper)
		} else {
			cur, note = c.overlay(base, cur, upper)
		}
		if err != nil {
			return err
		}
	}
	top := chain[0].layer
	if note != "" {
		c.out.Shadowed = append(c.out.Shadowed, Shadow{Path: path, Layer: c.stack[top].Name, Reason: note})
	}
	c.finish(path, cur, top)
	return nil
}

// chain returns the current views down to the first whiteout or directory.
func (c *composer) chain() []view {
	for i, v := range c.views {
		if v.dir() || v.entry.Type == layers.Whiteout {
			return c.views[:i]
		}
	}
	return c.views
}

// fileOf returns the file at a view that is neither directory nor whiteout.
func (c *composer) fileOf(v view) file {
	return file{entry: *c.stack[v.layer].Tree.Resolve(v.entry), layer: v.layer, whole: true}
}

// base returns what lay at path below a layer when that was made, or nil when
// it is not known.
func (c *composer) base(layer int, path string) *layers.Entry {
	t := c.stack[layer].Base
	if e := t.Find(path); e != nil {
		return t.Resolve(e)
	}
	return nil
}

// stranded tells why the current views, of which the first is a file and alone
// in its chain, make a shadow; or returns nothing.
func (c *composer) stranded(path string) string {
	layer := c.views[0].layer
	base := c.base(layer, path)
	switch {
	case base == nil || c.open[len(c.open)-1].opaque == layer:
		return ""
	case len(c.views) == 1 || !c.views[1].dir():
		return "what it replaced is gone from the layers below"
	case base.Type != layers.Dir:
		return "what it replaced is a directory in the layers below now"
	}
	return ""
}

// overlay lays a file over what is below it, and tells why that makes a
// shadow, if it does.
func (c *composer) overlay(base *layers.Entry, lower, upper file) (f file, note string) {
	if base == nil || base.SameContent(&lower.entry) || upper.entry.SameContent(&lower.entry) {
		return upper, ""
	}
	_, linked := c.links[link{upper.layer, upper.entry.Path}]
	if linked || upper.entry.Type != layers.Regular || lower.entry.Type != layers.Regular || !upper.entry.SameContent(base) {
		return upper, "what it replaces has changed in the layers below"
	}
	mergeAttrs(&lower.entry, base, &upper.entry)
	lower.layer, lower.whole = upper.layer, false
	return lower, ""
}

// finish emits a file.
func (c *composer) finish(path string, f file, owner int) {
	if f.gone {
		return
	}
	e := f.entry
	key := link{f.layer, e.Path}
	e.Path = path
	if f.made {
		e.Size, e.Extents = int64(len(f.data)), c.out.keep(f.data)
	}
	if carrier, linked := c.links[key]; linked && f.whole {
		if carrier == "" {
			c.links[key] = path
		} else {
			e = layers.Entry{Path: path, Type: layers.Hardlink, Target: carrier}
		}
	}
	c.emit(e, owner)
}
