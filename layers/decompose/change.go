package decompose

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"satchel/layers"
	"satchel/layers/merge"
)

// A change is one path at which the session made a difference.
type change struct {
	path  string
	old   *layers.Entry // what the lower has there; nil: nothing
	entry *layers.Entry // what is there now, never a hard link; nil: nothing
	group string        // the first path of the file in the upper, if it has several names
	under int           // how many paths of the lower went with it
}

func (c *change) action() Action {
	switch {
	case c.entry == nil:
		return Removed
	case c.old == nil:
		return Added
	}
	return Changed
}

// newDir reports whether the change makes a directory where none was.
func (c *change) newDir() bool {
	return c.entry != nil && c.entry.Type == layers.Dir && (c.old == nil || c.old.Type != layers.Dir)
}

// changes finds all changes, in the order of their paths.
func (in *Input) changes(ctx context.Context) ([]change, error) {
	linked := in.groups()
	var out []change
	opaque := "" // the outermost opaque directory on the way here, with a slash
	for i := range in.Upper {
		if i%1024 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		e := &in.Upper[i]
		old := in.Lower.Find(e.Path)
		switch e.Type {
		case layers.Whiteout:
			if old != nil {
				out = append(out, in.removed(e.Path))
			}
		case layers.Dir:
			if old == nil || old.Type != layers.Dir || !sameDir(e, old) {
				out = append(out, change{path: e.Path, old: old, entry: e})
			}
			if e.Opaque && (opaque == "" || !strings.HasPrefix(e.Path, opaque)) {
				opaque = e.Path + "/"
				out = append(out, in.hidden(e.Path)...)
			}
		default:
			c := change{path: e.Path, old: old, entry: in.Upper.Resolve(e), group: linked[e.Path]}
			unchanged, err := in.unchanged(&c)
			if err != nil {
				return nil, err
			}
			if !unchanged {
				c.under = len(in.Lower.Under(e.Path))
				out = append(out, c)
			}
		}
	}
	sortChanges(out)
	return out, nil
}

func (in *Input) removed(path string) change {
	return change{path: path, old: in.Lower.Find(path), under: len(in.Lower.Under(path))}
}

// hidden returns the removals that an opaque directory of the upper stands for.
func (in *Input) hidden(dir string) []change {
	var out []change
	below := in.Lower.Under(dir)
	for i := 0; i < len(below); {
		path := below[i].Path
		e := in.Upper.Find(path)
		if e == nil {
			out = append(out, in.removed(path))
		}
		i++
		if e == nil || e.Type != layers.Dir {
			i += len(in.Lower.Under(path))
		}
	}
	return out
}

// sameDir reports whether two directories agree in all but time. The times of
// directories follow from what happens in them.
func sameDir(a, b *layers.Entry) bool {
	c := *a
	c.ModTime = b.ModTime
	return c.SameAttrs(b)
}

// groups finds the files of the upper with several names that are to be
// recorded, and gives each name the file's first. A file whose names are all
// as in the lower, and linked there, was only copied up.
func (in *Input) groups() map[string]string {
	names := map[string][]string{}
	for i := range in.Upper {
		if e := &in.Upper[i]; e.Type == layers.Hardlink {
			names[e.Target] = append(names[e.Target], e.Path)
		}
	}
	out := map[string]string{}
	for first, others := range names {
		all := append([]string{first}, others...)
		if in.linkedBelow(all) {
			continue
		}
		for _, path := range all {
			out[path] = first
		}
	}
	return out
}

// linkedBelow reports whether paths are names of one file in the lower.
func (in *Input) linkedBelow(paths []string) bool {
	var file *layers.Entry
	for i, path := range paths {
		e := in.Lower.Find(path)
		if e == nil {
			return false
		}
		if e = in.Lower.Resolve(e); i > 0 && e != file {
			return false
		}
		file = e
	}
	return true
}

// unchanged reports whether a file is in the lower just so.
func (in *Input) unchanged(c *change) (bool, error) {
	if c.old == nil || c.group != "" {
		return false, nil
	}
	old := in.Lower.Resolve(c.old)
	if !c.entry.SameAttrs(old) {
		return false, nil
	}
	if c.entry.SameContent(old) {
		return true, nil
	}
	// What compose merged has another name than what the session copied of
	// it: only the bytes tell whether they are the same.
	regular := c.entry.Type == layers.Regular && old.Type == layers.Regular
	if !regular || c.entry.Size != old.Size || merge.For(c.path) == nil {
		return false, nil
	}
	now, err := in.read(c.entry)
	if err != nil {
		return false, err
	}
	before, err := in.read(old)
	return err == nil && bytes.Equal(now, before), err
}

func (in *Input) read(e *layers.Entry) ([]byte, error) {
	data, err := in.Read(e)
	if err != nil {
		return nil, fmt.Errorf("read %q: %w", e.Path, err)
	}
	return data, nil
}
