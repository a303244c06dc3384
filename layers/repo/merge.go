package repo

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"satchel/layers"
	"satchel/layers/ingest"
	"satchel/layers/manifest"
	"satchel/layers/merge/trees"
	"satchel/store"
)

// Side reads a version for a merge. The zero version is empty.
func (r *Repo) Side(ctx context.Context, version store.ID) (side trees.Side, err error) {
	if version.IsZero() {
		return side, nil
	}
	v, err := manifest.ReadVersion(ctx, r.st, version)
	if err != nil {
		return side, err
	}
	side.Device, side.Time = v.Device, v.Time
	if side.Tree, err = manifest.ReadTree(ctx, r.st, v.Tree); err == nil {
		side.Base, err = manifest.ReadTree(ctx, r.st, v.Base)
	}
	if err != nil {
		return side, fmt.Errorf("version %s: %w", version.Short(), err)
	}
	return side, nil
}

// Merge merges two versions of a layer that both come from an ancestor, as
// [trees.Merge] does, and stores what contents that makes through w. To commit
// the result, with both as parents, is the caller's.
func (r *Repo) Merge(ctx context.Context, w store.Writer, ancestor, ours, theirs trees.Side) (trees.Output, error) {
	put := func(ctx context.Context, e *layers.Entry, data []byte) error {
		pl := ingest.New(ctx, w, r.st.Domain())
		return errors.Join(pl.AddStream(e, bytes.NewReader(data)), pl.Wait())
	}
	return trees.Merge(ctx, trees.Input{Ancestor: ancestor, Ours: ours, Theirs: theirs, Get: r.st, Put: put})
}
