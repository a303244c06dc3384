package manifest

import (
	"context"
	"errors"
	"fmt"

	"satchel/layers"
	"satchel/store"
)

// maxWalkErrors bounds how many unreadable chunks a walk reports.
const maxWalkErrors = 1000

// Walk returns a walker for the garbage collection and checking of stores: from
// a version it reaches all its parents, their trees, bases and lists, and the
// chunks of all files. A manifest chunk that cannot be read does not stop the
// walk, but what lies below it is not reached; the walk then ends with the
// errors of all such chunks.
//
// Of the versions that partial returns the store holds the records but not the
// trees, so only the records and their parents are visited. Partial may be nil,
// for a store in which all versions are complete.
func Walk(g store.Getter, partial func(context.Context) (map[store.ID]struct{}, error)) store.Walker {
	return func(ctx context.Context, root store.ID, visit func(store.ID) bool) error {
		w := &walk{ctx: ctx, get: g, visit: visit}
		if partial != nil {
			// Asked anew for each root, after the caller has read the heads: a
			// version is noted as partial in the transaction that moves a head
			// to what reaches it, so none of those is missed.
			var err error
			if w.partial, err = partial(ctx); err != nil {
				return fmt.Errorf("list partial versions: %w", err)
			}
		}
		w.versions(root)
		return errors.Join(w.errs...)
	}
}

type walk struct {
	ctx     context.Context
	get     store.Getter
	visit   func(store.ID) bool
	partial map[store.ID]struct{}
	errs    []error
}

// failed keeps an error. It reports whether there was one.
func (w *walk) failed(err error) bool {
	if err != nil && len(w.errs) < maxWalkErrors {
		w.errs = append(w.errs, err)
	}
	return err != nil
}

// stopped reports whether the walk has to end at once.
func (w *walk) stopped() bool {
	if err := w.ctx.Err(); err != nil {
		w.errs = []error{err}
		return true
	}
	return false
}

// versions visits a version and those it was made from. Histories are long, so
// it keeps a list of its own rather than recursing.
func (w *walk) versions(id store.ID) {
	for todo := []store.ID{id}; len(todo) > 0 && !w.stopped(); {
		id, todo = todo[len(todo)-1], todo[:len(todo)-1]
		if !w.visit(id) {
			continue
		}
		v, err := ReadVersion(w.ctx, w.get, id)
		if w.failed(err) {
			continue
		}
		todo = append(todo, v.Parents...)
		if _, partial := w.partial[id]; partial {
			continue
		}
		for _, root := range []layers.Root{v.Tree, v.Base} {
			if root.Entries > 0 {
				w.node(child{id: root.ID, entries: root.Entries}, -1)
			}
		}
	}
}

func (w *walk) node(c child, level int) {
	if w.stopped() || !w.visit(c.id) {
		return
	}
	n, err := readNode(w.ctx, w.get, c, level)
	if w.failed(err) {
		return
	}
	for _, below := range n.children {
		w.node(below, int(n.level)-1)
	}
	for i := range n.records {
		r := &n.records[i]
		w.extents(r.Extents)
		for _, l := range r.lists {
			w.list(r.level-1, l)
		}
	}
}

func (w *walk) list(level byte, ref listRef) {
	if w.stopped() || !w.visit(ref.id) {
		return
	}
	l, err := readList(w.ctx, w.get, level, ref)
	if w.failed(err) {
		return
	}
	w.extents(l.extents)
	for _, below := range l.refs {
		w.list(level-1, below)
	}
}

func (w *walk) extents(xs []layers.Extent) {
	for _, x := range xs {
		if !x.ID.IsZero() {
			w.visit(x.ID)
		}
	}
}
