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

// How much of a file is written at once: the more, the less the file system has to
// do. Of chunks so many that the frames of all of them fit into memory.
const (
	runBytes  = 1 << 20
	runChunks = 64
)

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

func (x *exporter) locateExtents(ctx context.Context, extents []layers.Extent) error {
	ids := make([]store.ID, 0, len(extents))
	for _, extent := range extents {
		if !extent.ID.IsZero() {
			ids = append(ids, extent.ID)
		}
	}
	return x.from.Locate(ctx, ids)
}

// contents writes what a new file holds.
func (x *exporter) contents(ctx context.Context, m made) error {
	e := m.entry
	if n := len(e.Extents); n > 0 && e.Extents[n-1].ID.IsZero() {
		if err := retry(func() error { return unix.Ftruncate(m.fd, e.Size) }); err != nil {
			return err
		}
	}
	r := run{file: m.fd, from: x.from}
	for i, extent := range e.Extents {
		if i%locateChunks == 0 && len(e.Extents) > locateChunks {
			if err := x.locateExtents(ctx, e.Extents[i:min(i+locateChunks, len(e.Extents))]); err != nil {
				return err
			}
		}
		if err := r.add(ctx, extent); err != nil {
			return err
		}
	}
	return r.flush(ctx)
}

// A run is what follows one another in a file and is not yet written.
type run struct {
	file    int // its descriptor
	from    store.Lender
	off     int64           // of the run in the file
	extents []layers.Extent // that have contents
	size    int64
}

// add takes what follows: contents, or a hole, which is left out.
func (r *run) add(ctx context.Context, extent layers.Extent) error {
	if extent.ID.IsZero() {
		err := r.flush(ctx)
		r.off += extent.Len
		return err
	}
	r.extents = append(r.extents, extent)
	if r.size += extent.Len; r.size < runBytes && len(r.extents) < runChunks {
		return nil
	}
	return r.flush(ctx)
}

// flush writes the run.
func (r *run) flush(ctx context.Context) error {
	if len(r.extents) == 0 {
		return nil
	}
	ids := make([]store.ID, len(r.extents))
	for i, extent := range r.extents {
		ids[i] = extent.ID
	}
	err := r.from.Lend(ctx, ids, func(chunks [][]byte) error {
		for i, data := range chunks {
			if int64(len(data)) != r.extents[i].Len {
				return fmt.Errorf("chunk %s has %d bytes, want %d: %w", ids[i].Short(), len(data), r.extents[i].Len, store.ErrCorrupt)
			}
		}
		return writeAt(r.file, chunks, r.off)
	})
	r.off += r.size
	r.extents, r.size = r.extents[:0], 0
	return err
}

// writeAt writes chunks one after the other. It changes the slice.
func writeAt(fd int, chunks [][]byte, off int64) error {
	for len(chunks) > 0 {
		var n int
		err := retry(func() (err error) {
			if len(chunks) == 1 {
				n, err = unix.Pwrite(fd, chunks[0], off)
			} else {
				n, err = unix.Pwritev(fd, chunks, off)
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("write: %w", err)
		}
		chunks, off = rest(chunks, n), off+int64(n)
	}
	return nil
}

// rest takes the first n bytes off the chunks.
func rest(chunks [][]byte, n int) [][]byte {
	for len(chunks) > 0 && n >= len(chunks[0]) {
		n -= len(chunks[0])
		chunks = chunks[1:]
	}
	if len(chunks) > 0 {
		chunks[0] = chunks[0][n:]
	}
	return chunks
}
