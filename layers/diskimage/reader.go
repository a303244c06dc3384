package diskimage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sort"

	"satchel/layers"
	"satchel/store"
)

// A Reader reads the disk of a version. It may be used by several goroutines at
// once.
type Reader struct {
	get  store.Getter
	xs   []layers.Extent
	ends []int64 // of each extent
}

// Open returns the disk that a tree of disk form holds, whose chunks are in g.
func Open(g store.Getter, tree layers.Tree) (*Reader, error) {
	e, err := tree.Disk()
	if err != nil {
		return nil, err
	}
	r := &Reader{get: g, xs: e.Extents, ends: make([]int64, len(e.Extents))}
	var end int64
	for i, x := range e.Extents {
		end += x.Len
		r.ends[i] = end
	}
	return r, nil
}

// Size is the disk's size in bytes.
func (r *Reader) Size() int64 { return r.ends[len(r.ends)-1] }

// at returns the extent that holds the byte at off.
func (r *Reader) at(off int64) int {
	return sort.Search(len(r.ends), func(i int) bool { return r.ends[i] > off })
}

// Run returns how many bytes from off on, which is within the disk, are of one
// kind: a hole, or not.
func (r *Reader) Run(off int64) (n int64, zeros bool) {
	i := r.at(off)
	zeros = r.xs[i].ID.IsZero()
	for i+1 < len(r.xs) && r.ends[i]-off < maxRun && r.xs[i+1].ID.IsZero() == zeros {
		i++
	}
	return r.ends[i] - off, zeros
}

// maxRun is how many bytes Run looks through.
const maxRun = 32 << 20

// ReadAt implements [io.ReaderAt].
func (r *Reader) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, errors.New("read disk: negative offset")
	}
	for i := r.at(off); n < len(p) && i < len(r.xs); i++ {
		x := r.xs[i]
		skip := off + int64(n) - (r.ends[i] - x.Len)
		part := p[n:min(int64(len(p)), int64(n)+x.Len-skip)]
		if x.ID.IsZero() {
			clear(part)
		} else if err := r.chunk(part, x, skip); err != nil {
			return n, fmt.Errorf("read disk at %d: %w", off+int64(n), err)
		}
		n += len(part)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// chunk fills part from a chunk, beginning skip bytes into it.
func (r *Reader) chunk(part []byte, x layers.Extent, skip int64) error {
	// An io.ReaderAt has no context to pass on: reads end with the store's.
	data, err := r.get.Get(context.Background(), x.ID)
	if err != nil {
		return err
	}
	if int64(len(data)) != x.Len {
		return fmt.Errorf("chunk %s has %d bytes, not %d: %w", x.ID.Short(), len(data), x.Len, store.ErrCorrupt)
	}
	copy(part, data[skip:])
	return nil
}
