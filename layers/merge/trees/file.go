package trees

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"satchel/layers"
	registry "satchel/layers/merge"
	"satchel/layers/treefs"
	"satchel/store"
)

// A triple is a file on all sides; the ancestor's may be nil.
type triple struct{ ancestor, ours, theirs *file }

// A spot is where files are merged, with what they hid below their layer.
type spot struct {
	path                   string
	ancestor, ours, theirs *layers.Entry
}

// file merges a file. Under all its names that gives the same file.
func (m *merger) file(ctx context.Context, at spot, k triple) (*file, error) {
	if f := m.merged[k]; f != nil {
		return f, nil
	}
	f, err := m.mergeFile(ctx, at, k)
	if err == nil && len(k.ours.names)+len(k.theirs.names) > 2 {
		m.merged[k] = f
	}
	return f, err
}

func (m *merger) mergeFile(ctx context.Context, at spot, k triple) (*file, error) {
	o, t := k.ours.entry, k.theirs.entry
	var a *layers.Entry
	switch {
	case k.ancestor != nil:
		a = k.ancestor.entry
	case at.ours != nil && same(at.ours, at.theirs):
		a = at.ours // the lower file that both changed
	}
	f := &file{like: k.ours}
	merged := mergeAttrs(a, o, t)
	switch {
	case o.Same(t):
		return k.sameNames(), nil
	case o.SameContent(t), a != nil && t.SameContent(a):
	case a != nil && o.SameContent(a):
		f.like = k.theirs
		merged = withContent(merged, t)
	default:
		if ok, err := m.contents(ctx, at, k, &merged); err != nil || !ok {
			return k.ours, err
		}
		f.like, f.merged = nil, true
	}
	switch {
	case merged.Same(o):
		return k.ours, nil
	case merged.Same(t) && !f.merged:
		return k.theirs, nil
	}
	f.entry = &merged
	return f, nil
}

// sameNames returns which of two equal files is the one that a side changed
// the names of.
func (k triple) sameNames() *file {
	if k.ancestor != nil && !slices.Equal(k.theirs.names, k.ancestor.names) && slices.Equal(k.ours.names, k.ancestor.names) {
		return k.theirs
	}
	return k.ours
}

// withContent returns e with what from carries.
func withContent(e layers.Entry, from *layers.Entry) layers.Entry {
	e.Type, e.Size, e.Extents = from.Type, from.Size, from.Extents
	e.Target, e.Major, e.Minor = from.Target, from.Major, from.Minor
	return e
}

// contents merges contents that both sides changed into e, and reports whether
// it could. If not, theirs is kept beside ours. A registry in which records
// conflict is both merged and kept.
func (m *merger) contents(ctx context.Context, at spot, k triple, e *layers.Entry) (ok bool, err error) {
	const reason = "changed on both sides"
	if k.ours.entry.Type != layers.Regular || k.theirs.entry.Type != layers.Regular {
		m.keep(at.path, k.theirs, m.theirs, reason)
		return false, nil
	}
	f := formatOf(at.path)
	data, conflicts, err := m.mergeContents(ctx, f, at, k)
	switch {
	case errors.Is(err, errUnclean), errors.Is(err, registry.ErrMalformed):
		m.keep(at.path, k.theirs, m.theirs, reason)
		return false, nil
	case err != nil:
		return false, err
	}
	if len(conflicts) > 0 {
		m.keep(at.path, k.theirs, m.theirs, strings.Join(conflicts, "; "))
	}
	e.Size, e.Extents = 0, nil
	if len(data) > 0 {
		if err := m.in.Put(ctx, e, data); err != nil {
			return false, fmt.Errorf("store merged %q: %w", at.path, err)
		}
	}
	return true, nil
}

// errUnclean reports contents that cannot be merged.
var errUnclean = errors.New("cannot be merged")

// A format knows how to merge contents. A nil content is none.
type format struct {
	limit int64 // bytes of each
	merge func(base, ours, theirs []byte) (data []byte, conflicts []string, err error)
	// rebase says that contents follow what lies below their layer.
	rebase bool
}

// formatOf returns how to merge the file at path: with the driver of its
// registry, or as a text. A registry is as large as compose allows at most.
func formatOf(path string) format {
	d := registry.For(path)
	if d == nil {
		return format{limit: 1 << 20, merge: func(base, ours, theirs []byte) ([]byte, []string, error) {
			if merged, ok := mergeText(base, ours, theirs); ok {
				return merged, nil, nil
			}
			return nil, nil, errUnclean
		}}
	}
	return format{limit: 64 << 20, rebase: true, merge: func(base, ours, theirs []byte) ([]byte, []string, error) {
		// The upper is what wins, and that is ours.
		out, err := d.Merge(registry.Input{Path: path, Base: base, Lower: theirs, Upper: ours})
		var reasons []string
		for _, c := range out.Conflicts {
			reasons = append(reasons, c.Reason)
		}
		return out.Data, reasons, err
	}}
}

// mergeContents merges the regular files of k. Where the ancestor has no file,
// what ours hid below is what they were made from. What was made on something
// else is first brought to that.
func (m *merger) mergeContents(ctx context.Context, f format, at spot, k triple) ([]byte, []string, error) {
	r := reader{m.in.Get, f.limit}
	was, onto := at.ours, at.ours
	if k.ancestor != nil {
		was, onto = k.ancestor.entry, at.ancestor
	}
	ancestor, err1 := r.read(ctx, was)
	ours, err2 := r.read(ctx, k.ours.entry)
	theirs, err3 := r.read(ctx, k.theirs.entry)
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, nil, err
	}
	var conflicts []string
	if f.rebase || k.ancestor == nil {
		var err error
		if ancestor, _, err = r.rebase(ctx, f, ancestor, onto, at.ours); err != nil {
			return nil, nil, err
		}
		if theirs, conflicts, err = r.rebase(ctx, f, theirs, at.theirs, at.ours); err != nil {
			return nil, nil, err
		}
	}
	data, more, err := f.merge(ancestor, ours, theirs)
	return data, append(conflicts, more...), err
}

// A reader reads contents of limited size.
type reader struct {
	get   store.Getter
	limit int64 // bytes
}

// read returns the content of a regular file; of anything else it is nil. It
// fails with errUnclean when that is too large.
func (r reader) read(ctx context.Context, e *layers.Entry) ([]byte, error) {
	if e == nil || e.Type != layers.Regular {
		return nil, nil
	}
	if e.Size > r.limit {
		return nil, errUnclean
	}
	data := make([]byte, e.Size)
	if e.Size == 0 {
		return data, nil
	}
	if _, err := treefs.Open(ctx, r.get, e).ReadAt(data, 0); err != nil {
		return nil, fmt.Errorf("read %q: %w", e.Path, err)
	}
	return data, nil
}

// rebase returns a content as it would be had it been made on another base.
func (r reader) rebase(ctx context.Context, f format, data []byte, from, to *layers.Entry) ([]byte, []string, error) {
	if from == nil && to == nil || from != nil && to != nil && from.SameContent(to) {
		return data, nil, nil
	}
	base, err1 := r.read(ctx, from)
	lower, err2 := r.read(ctx, to)
	if err := errors.Join(err1, err2); err != nil {
		return nil, nil, err
	}
	return f.merge(base, data, lower)
}
