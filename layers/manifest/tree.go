package manifest

import (
	"context"
	"fmt"
	"runtime"

	"golang.org/x/sync/errgroup"

	"satchel/layers"
	"satchel/store"
)

// WriteTree stores a tree, which must pass [layers.Tree.Check], and returns its
// root. The caller flushes.
func WriteTree(ctx context.Context, p store.Putter, t layers.Tree) (layers.Root, error) {
	if len(t) == 0 {
		return layers.Root{}, nil
	}
	if err := t.Check(); err != nil {
		return layers.Root{}, err
	}
	root := layers.Root{Entries: int64(len(t))}
	w := &nodeWriter{ctx: ctx, put: p}
	var body []byte
	for i := range t {
		rec := record{Entry: t[i]}
		var err error
		if rec.Type == layers.Regular {
			root.Files++
			root.Bytes += rec.Size
			if len(rec.Extents) > maxInline {
				if rec.lists, rec.level, err = writeLists(ctx, p, rec.Extents); err != nil {
					return layers.Root{}, fmt.Errorf("path %q: %w", rec.Path, err)
				}
			}
		}
		if body, err = appendRecord(body[:0], &rec); err != nil {
			return layers.Root{}, err
		}
		if err := w.add(rec.Path, body, 1); err != nil {
			return layers.Root{}, err
		}
	}
	nodes, err := w.end()
	for level := byte(1); err == nil && len(nodes) > 1; level++ {
		w := &nodeWriter{ctx: ctx, put: p, level: level}
		for _, c := range nodes {
			if err := w.add(c.first, appendChild(nil, c), c.entries); err != nil {
				return layers.Root{}, err
			}
		}
		nodes, err = w.end()
	}
	if err != nil {
		return layers.Root{}, err
	}
	root.ID = nodes[0].id
	return root, nil
}

// ReadTree reads a whole tree, lists of extents included, and checks that it
// keeps the rules of trees.
func ReadTree(ctx context.Context, g store.Getter, root layers.Root) (layers.Tree, error) {
	t, err := readTree(ctx, g, root)
	if err != nil {
		return nil, fmt.Errorf("read tree %s: %w", root.ID.Short(), err)
	}
	return t, nil
}

func readTree(ctx context.Context, g store.Getter, root layers.Root) (layers.Tree, error) {
	if root.Entries == 0 {
		return nil, nil
	}
	leaves, err := leaves(ctx, g, root)
	if err != nil {
		return nil, err
	}
	t := make(layers.Tree, 0, root.Entries) // leaves of that many entries are there
	budget := int64(maxTreeExtents)
	for _, n := range leaves {
		for i := range n.records {
			r := &n.records[i]
			if err := r.resolve(ctx, g, &budget); err != nil {
				return nil, err
			}
			t = append(t, r.Entry)
		}
		n.records = nil
	}
	if err := t.Check(); err != nil {
		return nil, corrupt("%v", err)
	}
	return t, nil
}

// leaves reads the leaves of a tree, in order.
func leaves(ctx context.Context, g store.Getter, root layers.Root) ([]*node, error) {
	top, err := readNode(ctx, g, child{id: root.ID, entries: root.Entries}, -1)
	if err != nil {
		return nil, err
	}
	row := []*node{top}
	for level := int(top.level); level > 0; level-- {
		var below []child
		for _, n := range row {
			below = append(below, n.children...)
		}
		row = make([]*node, len(below))
		eg, ctx := errgroup.WithContext(ctx)
		eg.SetLimit(runtime.GOMAXPROCS(0))
		for i, c := range below {
			eg.Go(func() (err error) {
				row[i], err = readNode(ctx, g, c, level-1)
				return err
			})
		}
		if err := eg.Wait(); err != nil {
			return nil, err
		}
	}
	return row, nil
}
