package adopt

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"sync"

	"satchel/layers"
	"satchel/layers/ingest"
	"satchel/store"
	"satchel/store/chunk"
)

// contents cuts each distinct run of the old store's files once.
type contents struct {
	ctx      context.Context
	from     store.Getter
	pipeline *ingest.Pipeline
	progress func(done, total int64)

	runs map[key][]layers.Extent // new extents by the old ones; nil: not cut yet

	mu          sync.Mutex // guards what follows, and calls of progress
	done, total int64      // bytes
}

// A key stands for the extents of a run.
type key [sha256.Size]byte

func newContents(ctx context.Context, from store.Getter, to store.Putter, d chunk.Domain, progress func(done, total int64)) *contents {
	return &contents{ctx: ctx, from: from, pipeline: ingest.New(ctx, to, d), progress: progress, runs: map[key][]layers.Extent{}}
}

// report tells that n more bytes are done.
func (c *contents) report(n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done += n
	if c.progress != nil {
		c.progress(c.done, c.total)
	}
}

// expect adds what is new in a tree to the total.
func (c *contents) expect(t layers.Tree) {
	for i := range t {
		for _, run := range runsOf(t[i].Extents) {
			k := keyOf(run)
			if _, known := c.runs[k]; !known && !isHole(run) {
				c.runs[k] = nil
				c.total += lenOf(run)
			}
		}
	}
}

// adopt replaces the extents of all files of a tree by new ones.
func (c *contents) adopt(t layers.Tree) error {
	cutting := map[key]*layers.Entry{}
	for i := range t {
		for _, run := range runsOf(t[i].Extents) {
			k := keyOf(run)
			if isHole(run) || c.runs[k] != nil || cutting[k] != nil {
				continue
			}
			e := &layers.Entry{Path: t[i].Path, Type: layers.Regular, Size: lenOf(run)}
			cutting[k] = e
			c.pipeline.Add(e, func() (io.ReadCloser, error) { return &reader{c: c, rest: run}, nil })
		}
	}
	if err := c.pipeline.Wait(); err != nil {
		return err
	}
	for k, e := range cutting {
		c.runs[k] = slices.Clip(e.Extents)
	}
	for i := range t {
		var xs []layers.Extent
		for _, run := range runsOf(t[i].Extents) {
			if !isHole(run) {
				run = c.runs[keyOf(run)]
			}
			xs = append(xs, run...)
		}
		t[i].Extents = xs
	}
	return nil
}

// runsOf divides the extents of a file into runs of chunks and single holes. An
// import cuts what lies between holes by itself, so that must be done here too.
func runsOf(xs []layers.Extent) (runs [][]layers.Extent) {
	for len(xs) > 0 {
		n := 1
		for xs[0].ID != (store.ID{}) && n < len(xs) && !xs[n].ID.IsZero() {
			n++
		}
		runs, xs = append(runs, xs[:n]), xs[n:]
	}
	return runs
}

func isHole(run []layers.Extent) bool { return run[0].ID.IsZero() }

func lenOf(run []layers.Extent) (n int64) {
	for _, x := range run {
		n += x.Len
	}
	return n
}

func keyOf(run []layers.Extent) (k key) {
	h := sha256.New()
	var b [len(store.ID{}) + 8]byte
	for _, x := range run {
		copy(b[:], x.ID[:])
		binary.LittleEndian.PutUint64(b[len(x.ID):], uint64(x.Len))
		h.Write(b[:]) // never fails
	}
	h.Sum(k[:0])
	return k
}

// A reader reads a run of the old store, one chunk at a time.
type reader struct {
	c    *contents
	data []byte // of the chunk at hand, what is left
	rest []layers.Extent
}

// Read implements [io.Reader].
func (r *reader) Read(p []byte) (int, error) {
	if len(r.data) == 0 {
		if len(r.rest) == 0 {
			return 0, io.EOF
		}
		x := r.rest[0]
		data, err := r.c.from.Get(r.c.ctx, x.ID)
		if err != nil {
			return 0, err
		}
		if int64(len(data)) != x.Len {
			return 0, fmt.Errorf("chunk %s has %d bytes, want %d: %w", x.ID.Short(), len(data), x.Len, store.ErrCorrupt)
		}
		r.data, r.rest = data, r.rest[1:]
		r.c.report(x.Len)
	}
	n := copy(p, r.data)
	r.data = r.data[n:]
	return n, nil
}

// Close implements [io.Closer].
func (r *reader) Close() error { return nil }
