package compose

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"satchel/layers"
	"satchel/layers/merge"
	"satchel/store"
)

// maxRegistry bounds the size of a file that is merged, in bytes, since
// merging holds three of it in memory. Debian's package database, the largest
// there is, takes about 1 KiB a package.
const maxRegistry = 64 << 20

// errTooLarge reports a registry that is not merged for its size.
var errTooLarge = fmt.Errorf("more than %d bytes, too large to merge", maxRegistry)

// mergeRegistry merges an upper layer's registry with what is below it. What
// cannot be merged is a conflict, and the upper one is kept.
func (c *composer) mergeRegistry(ctx context.Context, d merge.Driver, path string, base *layers.Entry, lower, upper file) (file, error) {
	if base != nil && base.Type != layers.Regular {
		base = nil
	}
	if !lower.made && (slices.Equal(lower.entry.Extents, upper.entry.Extents) ||
		base != nil && slices.Equal(lower.entry.Extents, base.Extents)) {
		return upper, nil
	}
	in := merge.Input{Path: path}
	out, err := merge.Output{}, c.readInput(ctx, &in, base, lower, upper)
	if err == nil {
		out, err = d.Merge(in)
	}
	switch {
	case errors.Is(err, merge.ErrMalformed), errors.Is(err, errTooLarge):
		out.Conflicts = []merge.Conflict{{Path: path, Reason: err.Error() + "; kept as it is here"}}
	case err != nil:
		return file{}, err
	case out.Data == nil || !bytes.Equal(out.Data, in.Upper):
		upper.whole, upper.made = false, true
		upper.data, upper.gone = out.Data, out.Data == nil
	}
	for _, x := range out.Conflicts {
		x.Layer = c.stack[upper.layer].Name
		c.out.Conflicts = append(c.out.Conflicts, x)
	}
	return upper, nil
}

// readInput reads the three contents of a registry.
func (c *composer) readInput(ctx context.Context, in *merge.Input, base *layers.Entry, lower, upper file) (err error) {
	if base != nil {
		if in.Base, err = c.read(ctx, base); err != nil {
			return err
		}
	}
	in.Lower = lower.data
	if !lower.made {
		if in.Lower, err = c.read(ctx, &lower.entry); err != nil {
			return err
		}
	}
	in.Upper, err = c.read(ctx, &upper.entry)
	return err
}

// read returns the content of a regular file, which is never nil.
func (c *composer) read(ctx context.Context, e *layers.Entry) ([]byte, error) {
	if e.Size > maxRegistry {
		return nil, fmt.Errorf("read %q: %w", e.Path, errTooLarge)
	}
	data := make([]byte, 0, e.Size)
	for _, x := range e.Extents {
		if x.ID.IsZero() {
			data = append(data, make([]byte, x.Len)...)
			continue
		}
		chunk, err := c.out.Get(ctx, x.ID)
		if err != nil {
			return nil, fmt.Errorf("read %q: %w", e.Path, err)
		}
		if int64(len(chunk)) != x.Len {
			return nil, fmt.Errorf("read %q: chunk %s has %d bytes, not %d: %w", e.Path, x.ID.Short(), len(chunk), x.Len, store.ErrCorrupt)
		}
		data = append(data, chunk...)
	}
	return data, nil
}
