package ingest

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"

	"satchel/layers"
	"satchel/store/chunk"
)

// A Range is a stretch of a disk, from Off to before End, in bytes.
type Range struct{ Off, End int64 }

// A DiskReader reads a disk as it is now.
type DiskReader interface {
	io.ReaderAt
	// Zeros returns how many bytes from off on are known to be zeros without
	// reading them: any number, as long as it is true.
	Zeros(off int64) int64
}

// Recut stores a disk that differs from an older version of it only in the
// ranges that dirty names: in order, apart, and of whole blocks of [HoleSize]
// bytes, but that the last may end where the disk does. Old are the older
// version's extents. Size and Extents of e are set some time before Wait
// returns.
//
// It reads as little as it can. A cut depends on nothing but the bytes since
// the cut before, so cutting begins at the last old cut before a range, and ends
// where it meets an old cut behind it. All other extents are taken over. The
// result is what [Pipeline.AddDisk] would make of the whole disk, if that is
// what made the old extents.
func (p *Pipeline) Recut(e *layers.Entry, old []layers.Extent, dirty []Range, r DiskReader) error {
	p.streaming.Lock()
	defer p.streaming.Unlock()
	x := &recutter{c: p.stream, domain: p.domain.ForDisks(), f: newFile(e), r: r, old: old, dirty: dirty}
	for _, o := range old {
		x.size += o.Len
		x.ends = append(x.ends, x.size)
	}
	if err := x.run(); err != nil {
		return p.fail(fmt.Errorf("read %q: %w", e.Path, err))
	}
	p.end(x.f)
	return nil
}

// A recutter is one pass over a disk. It stands at the end of f.
type recutter struct {
	c      *cutter
	domain chunk.Domain
	f      *file
	r      DiskReader
	old    []layers.Extent
	ends   []int64 // of each old extent
	size   int64
	dirty  []Range // that lie ahead, or around
	buf    []byte  // read ahead, never beyond what must be read
}

func (x *recutter) run() error {
	for len(x.dirty) > 0 {
		if err := x.keep(x.restart(x.dirty[0].Off)); err != nil {
			return err
		}
		if err := x.cut(); err != nil {
			return err
		}
	}
	return x.keep(x.size)
}

// keep takes over old extents until off, where one ends or a hole is cut.
func (x *recutter) keep(off int64) error {
	for i := x.at(x.f.size); x.f.size < off; i++ {
		if i == len(x.old) {
			return io.ErrUnexpectedEOF
		}
		o := x.old[i]
		o.Len = min(x.ends[i], off) - x.f.size
		x.f.keep(o)
		x.c.p.bytes.Add(o.Len)
	}
	return x.c.p.alive()
}

// at returns the old extent that holds the byte at off.
func (x *recutter) at(off int64) int {
	return sort.Search(len(x.ends), func(i int) bool { return x.ends[i] > off })
}

func (x *recutter) start(i int) int64 {
	if i == 0 {
		return 0
	}
	return x.ends[i-1]
}

// restart returns where to begin so that a change at off is cut as if all were
// cut anew: the last cut that no change at off moves.
func (x *recutter) restart(off int64) int64 {
	i := x.at(off)
	hole := i == len(x.old) || x.old[i].ID.IsZero()
	switch {
	case hole && off > x.start(i):
		return off
	case hole && i > 0 && !x.old[i-1].ID.IsZero():
		i-- // a chunk that the hole cut short
	}
	for i > 0 && x.start(i)%HoleSize != 0 {
		i-- // a chunk in two pieces: see cutter.add
	}
	return max(x.start(i), x.f.size)
}

// settled reports whether all from here to the next change is as it was, cuts
// included, and forgets the changes that lie behind.
func (x *recutter) settled() bool {
	for len(x.dirty) > 0 && x.dirty[0].End <= x.f.size {
		x.dirty = x.dirty[1:]
	}
	if i := x.at(x.f.size); i < len(x.old) && x.start(i) != x.f.size && !x.old[i].ID.IsZero() {
		return false // within an old chunk
	}
	return len(x.dirty) == 0 || x.restart(x.dirty[0].Off) > x.f.size
}

// cut stores what follows until it meets an old cut.
func (x *recutter) cut() error {
	begun := false
	x.buf = nil
	var chunk []byte
	emit := func() error {
		if len(chunk) == 0 {
			return nil
		}
		err := x.c.add(x.f, chunk)
		chunk = chunk[:0]
		return err
	}
	for pos := x.f.size; pos < x.size; {
		if len(chunk) == 0 && begun && x.settled() {
			return nil
		}
		begun = true
		if n := x.zeros(pos); n > 0 {
			if err := emit(); err != nil {
				return err
			}
			x.c.hole(x.f, n)
			pos += n
			continue
		}
		block, err := x.block(pos)
		if err != nil {
			return err
		}
		if pos += int64(len(block)); slices.Equal(block, zeroBlock[:len(block)]) {
			if err := emit(); err != nil {
				return err
			}
			x.c.hole(x.f, int64(len(block)))
			continue
		}
		chunk = append(chunk, block...)
		if len(chunk)%x.domain.Block == 0 && x.domain.EndsChunk(chunk) {
			if err := emit(); err != nil {
				return err
			}
		}
	}
	x.dirty = nil
	return emit()
}

// zeros returns how many whole blocks of zeros are known to follow, in bytes,
// but no more than to the end of the change or old extent at pos.
func (x *recutter) zeros(pos int64) int64 {
	if len(x.buf) > 0 {
		return 0
	}
	end := x.horizon(pos)
	n := min(x.r.Zeros(pos), end-pos)
	if pos+n == x.size {
		return n
	}
	return n / HoleSize * HoleSize
}

// horizon returns up to where all must be looked at if pos must be.
func (x *recutter) horizon(pos int64) int64 {
	for _, d := range x.dirty {
		if d.Off <= pos && pos < d.End {
			return d.End
		}
		if d.Off > pos {
			return min(d.Off, x.ends[x.at(pos)])
		}
	}
	return x.ends[x.at(pos)]
}

// readWindow is how much is read at once, in bytes.
const readWindow = 256 << 10

// block returns the next block, valid until the next call.
func (x *recutter) block(pos int64) ([]byte, error) {
	if len(x.buf) == 0 {
		n := min(x.horizon(pos)-pos, readWindow)
		n = min((n+HoleSize-1)/HoleSize*HoleSize, x.size-pos)
		x.buf = make([]byte, n)
		if m, err := x.r.ReadAt(x.buf, pos); m < len(x.buf) {
			return nil, errors.Join(err, io.ErrUnexpectedEOF)
		}
	}
	n := min(HoleSize, len(x.buf))
	block := x.buf[:n:n]
	x.buf = x.buf[n:]
	return block, nil
}
