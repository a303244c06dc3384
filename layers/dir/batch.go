package dir

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// How much of a tree is written by one goroutine at a time, and how many files
// are open for it.
const (
	batchFiles = 64
	batchBytes = 4 << 20
)

// A batch gathers files that were made, neighbours in the tree, so that one
// goroutine writes them one after the other.
type batch struct {
	x     *exporter
	ctx   context.Context
	group *errgroup.Group

	files []made
	bytes int64
}

// add takes a file, which it will close.
func (b *batch) add(m made) {
	b.files = append(b.files, m)
	b.bytes += m.entry.Size
	if len(b.files) == batchFiles || b.bytes >= batchBytes {
		b.flush()
	}
}

// flush has the files written.
func (b *batch) flush() {
	files := b.files
	b.files, b.bytes = make([]made, 0, batchFiles), 0
	if len(files) > 0 {
		b.group.Go(func() error { return b.x.fillAll(b.ctx, files) })
	}
}

// fillAll fills files, and closes all of them even after an error.
func (x *exporter) fillAll(ctx context.Context, files []made) (err error) {
	for _, m := range files {
		if err != nil {
			m.close() //nolint:errcheck // the first error counts
		} else {
			err = x.fill(ctx, m)
		}
	}
	return err
}
