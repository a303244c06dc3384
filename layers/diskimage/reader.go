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
	from store.Lender
	xs   []layers.Extent
	ends []int64 // of each extent
}

// Open returns the disk that a tree of disk form holds, whose chunks are in g.
func Open(g store.Getter, tree layers.Tree) (*Reader, error) {
	e, err := tree.Disk()
	if err != nil {
		return nil, err
	}
	r := &Reader{from: store.LenderOf(g), xs: e.Extents, ends: make([]int64, len(e.Extents))}
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
	for i := r.at(off); n < len(p) && i < len(r.xs); {
		parts := r.parts(p[n:], off+int64(n), i)
		m, err := r.fill(parts)
		if n += m; err != nil {
			return n, fmt.Errorf("read disk at %d: %w", off+int64(n), err)
		}
		i += len(parts)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// A part is what is wanted of an extent.
type part struct {
	of   layers.Extent
	skip int64 // in the extent
	into []byte
}

// maxParts is how many are read at once: so many that the frames of all of them
// fit into memory.
const maxParts = 64

// parts returns the parts that fill p from off on, which lies in extent i, or the
// first of them.
func (r *Reader) parts(p []byte, off int64, i int) (parts []part) {
	for ; len(p) > 0 && i < len(r.xs) && len(parts) < maxParts; i++ {
		x := r.xs[i]
		skip := off - (r.ends[i] - x.Len)
		into := p[:min(int64(len(p)), x.Len-skip)]
		parts = append(parts, part{x, skip, into})
		p, off = p[len(into):], off+int64(len(into))
	}
	return parts
}

// fill fills parts, and returns how many bytes it has: if one cannot be read, those
// before it.
func (r *Reader) fill(parts []part) (n int, err error) {
	if n, err = r.fillAll(parts); err == nil || len(parts) == 1 {
		return n, err
	}
	for n = 0; len(parts) > 0; parts = parts[1:] {
		m, err := r.fillAll(parts[:1])
		if n += m; err != nil {
			return n, err
		}
	}
	return n, nil
}

func (r *Reader) fillAll(parts []part) (n int, err error) {
	ids := make([]store.ID, 0, len(parts))
	for _, p := range parts {
		if !p.of.ID.IsZero() {
			ids = append(ids, p.of.ID)
		}
	}
	ctx := context.Background() // an io.ReaderAt has none to pass on: reads end with the store's
	if len(ids) > 1 {
		if err := r.from.Locate(ctx, ids); err != nil {
			return 0, err
		}
	}
	err = r.from.Lend(ctx, ids, func(chunks [][]byte) error {
		for _, p := range parts {
			if p.of.ID.IsZero() {
				clear(p.into)
			} else {
				data := chunks[0]
				if int64(len(data)) != p.of.Len {
					return fmt.Errorf("chunk %s has %d bytes, not %d: %w", p.of.ID.Short(), len(data), p.of.Len, store.ErrCorrupt)
				}
				copy(p.into, data[p.skip:])
				chunks = chunks[1:]
			}
			n += len(p.into)
		}
		return nil
	})
	return n, err
}
