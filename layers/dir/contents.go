package dir

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	"satchel/layers"
	"satchel/store"
)

// locateChunks is how many chunks are looked up at once: well below what a store
// remembers, since they are read only later.
const locateChunks = 4096

// runBytes is how much of a file is written at once: the more, the less the file
// system has to do.
const runBytes = 1 << 20

// locate looks up the chunks of e and of entries that follow it, if that is due.
func (x *exporter) locate(ctx context.Context, e *layers.Entry) error {
	if x.located == len(x.tree) || e != &x.tree[x.located] {
		return nil
	}
	var coming []layers.Extent
	for ; x.located < len(x.tree) && len(coming) < locateChunks; x.located++ {
		if extents := x.tree[x.located].Extents; len(extents) <= locateChunks {
			coming = append(coming, extents...)
		}
	}
	return x.locateExtents(ctx, coming)
}

// locateExtents looks up chunks, if whoever has them can do that.
func (x *exporter) locateExtents(ctx context.Context, extents []layers.Extent) error {
	l, ok := x.get.(store.Locator)
	if !ok {
		return nil
	}
	ids := make([]store.ID, 0, len(extents))
	for _, extent := range extents {
		if !extent.ID.IsZero() {
			ids = append(ids, extent.ID)
		}
	}
	return l.Locate(ctx, ids)
}

// contents writes what a new file holds.
func (x *exporter) contents(ctx context.Context, m made) error {
	e := m.entry
	if n := len(e.Extents); n > 0 && e.Extents[n-1].ID.IsZero() {
		if err := retry(func() error { return unix.Ftruncate(m.fd, e.Size) }); err != nil {
			return err
		}
	}
	r := run{fd: m.fd}
	for i, extent := range e.Extents {
		if i%locateChunks == 0 && len(e.Extents) > locateChunks {
			if err := x.locateExtents(ctx, e.Extents[i:min(i+locateChunks, len(e.Extents))]); err != nil {
				return err
			}
		}
		if extent.ID.IsZero() {
			if err := r.hole(extent.Len); err != nil {
				return err
			}
			continue
		}
		data, err := x.get.Get(ctx, extent.ID)
		if err != nil {
			return err
		}
		if int64(len(data)) != extent.Len {
			return fmt.Errorf("chunk %s has %d bytes, want %d: %w", extent.ID.Short(), len(data), extent.Len, store.ErrCorrupt)
		}
		if err := r.add(data); err != nil {
			return err
		}
	}
	return r.flush()
}

// A run is chunks that follow one another in a file and are not yet written.
type run struct {
	fd     int
	off    int64 // of the run in the file
	chunks [][]byte
	size   int
}

func (r *run) add(data []byte) error {
	r.chunks = append(r.chunks, data)
	if r.size += len(data); r.size < runBytes {
		return nil
	}
	return r.flush()
}

// hole leaves n bytes out.
func (r *run) hole(n int64) error {
	err := r.flush()
	r.off += n
	return err
}

// flush writes the run.
func (r *run) flush() error {
	for len(r.chunks) > 0 {
		var n int
		err := retry(func() (err error) {
			if len(r.chunks) == 1 {
				n, err = unix.Pwrite(r.fd, r.chunks[0], r.off)
			} else {
				n, err = unix.Pwritev(r.fd, r.chunks, r.off)
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("write: %w", err)
		}
		r.written(n)
	}
	return nil
}

// written takes the first n bytes off the run.
func (r *run) written(n int) {
	r.off += int64(n)
	r.size -= n
	for len(r.chunks) > 0 && n >= len(r.chunks[0]) {
		n -= len(r.chunks[0])
		r.chunks = r.chunks[1:]
	}
	if len(r.chunks) > 0 {
		r.chunks[0] = r.chunks[0][n:]
	} else {
		r.chunks = nil
	}
}
