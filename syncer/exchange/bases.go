package exchange

import (
	"context"
	"path"
	"strings"

	"satchel/layers"
	"satchel/layers/manifest"
	"satchel/store"
)

// bases are older files by what newer ones may resemble them in.
type bases struct {
	paths, names map[string]*layers.Entry // with digits taken out; of files that are gone, or that were looked for
	chunks       map[store.ID]*layers.Entry
}

func (b *bases) add(e *layers.Entry, stays bool) {
	for _, x := range e.Extents {
		if !x.ID.IsZero() {
			b.chunks[x.ID] = e
		}
	}
	if !stays {
		b.paths[unnumbered(e.Path)] = e
		b.names[unnumbered(path.Base(e.Path))] = e
	}
}

// like returns the file that a new one was most likely made of: one that has a
// chunk in common with it, the one at its path in another version, one of its
// name elsewhere; or nil.
func (b *bases) like(e *layers.Entry) *layers.Entry {
	for _, x := range e.Extents {
		if old := b.chunks[x.ID]; old != nil {
			return old
		}
	}
	if old := b.paths[unnumbered(e.Path)]; old != nil {
		return old
	}
	return b.names[unnumbered(path.Base(e.Path))]
}

// unnumbered takes the digits out of a path, so that versions of a file meet.
func unnumbered(path string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, path)
}

// look goes through a whole tree for what new files may be like that are like
// nothing that was changed or removed: a kernel is installed beside another.
func (p *planner) look(ctx context.Context, from layers.Root, files []manifest.Change, old *bases) error {
	paths, names := map[string]bool{}, map[string]bool{}
	var size int64
	for _, c := range files {
		if c.From == nil && old.like(c.To) == nil {
			paths[unnumbered(c.Path)], names[unnumbered(path.Base(c.Path))] = true, true
			size += c.To.Size
		}
	}
	if size < leastLook {
		return nil
	}
	for c, err := range manifest.Diff(ctx, p.get, layers.Root{}, from) {
		if err != nil {
			return err
		}
		if c.To.Type != layers.Regular || c.To.Size == 0 {
			continue
		}
		if key := unnumbered(c.Path); paths[key] {
			old.paths[key] = c.To
		} else if key := unnumbered(path.Base(c.Path)); names[key] && old.names[key] == nil {
			old.names[key] = c.To
		}
	}
	return nil
}
