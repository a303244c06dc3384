package ingest

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// HoleSize is the size in bytes of the blocks in which AddSparse looks for
// holes: that of a page, and of the blocks of most file systems.
const HoleSize = 4096

// sparse stores a file whose file system knows where its holes are.
func (c *cutter) sparse(f *file, r *os.File, size int64) error {
	for f.size < size {
		data, end, err := nextData(r, f.size, size)
		if err != nil {
			return err
		}
		c.hole(f, data-f.size)
		if data == size {
			return c.p.alive()
		}
		if _, err := r.Seek(data, io.SeekStart); err != nil {
			return err
		}
		if err := c.content(f, io.LimitReader(r, end-data)); err != nil {
			return err
		}
		if f.size < end {
			return nil // the file shrinks while it is read
		}
	}
	return nil
}

// nextData returns where the next data at or after off begins and ends, both
// size if there is none. See lseek(2).
func nextData(r *os.File, off, size int64) (data, end int64, err error) {
	data, err = r.Seek(off, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return size, size, nil
	case errors.Is(err, unix.EINVAL): // the file system cannot tell
		return off, size, nil
	case err != nil:
		return 0, 0, err
	}
	end, err = r.Seek(data, unix.SEEK_HOLE)
	if errors.Is(err, unix.ENXIO) { // it shrank in between
		return size, size, nil
	}
	return min(data, size), min(end, size), err
}

// zeros stores a stream and keeps its blocks of zeros as holes.
func (c *cutter) zeros(f *file, r io.Reader) error {
	if f.image {
		return c.image(f, r)
	}
	return c.stretches(f, r, func(r io.Reader) error { return c.content(f, r) })
}

// stretches keeps blocks of zeros as holes and has what lies between two of
// them stored.
func (c *cutter) stretches(f *file, r io.Reader, store func(io.Reader) error) error {
	s := &blocks{br: bufio.NewReaderSize(r, 16*HoleSize)}
	for {
		n, err := s.skipZeros()
		c.hole(f, n)
		if errors.Is(err, io.EOF) {
			return c.p.alive()
		}
		if err != nil {
			return err
		}
		if err := store(s); err != nil {
			return err
		}
		if err := c.p.alive(); err != nil {
			return err
		}
	}
}

// blocks reads a stream up to the next block of zeros.
type blocks struct {
	br   *bufio.Reader
	left int // of the block of data it stands in
}

var zeroBlock [HoleSize]byte

// skipZeros passes over blocks of zeros and returns how many bytes they were,
// with [io.EOF] when nothing comes after them.
func (b *blocks) skipZeros() (n int64, err error) {
	for {
		block, err := b.br.Peek(HoleSize)
		if len(block) == 0 || err != nil && !errors.Is(err, io.EOF) {
			return n, err
		}
		if !bytes.Equal(block, zeroBlock[:len(block)]) {
			return n, nil
		}
		_, _ = b.br.Discard(len(block)) // they are in the buffer
		n += int64(len(block))
	}
}

// Read implements [io.Reader]; a block of zeros is an end of file.
func (b *blocks) Read(p []byte) (int, error) {
	if b.left == 0 {
		block, err := b.br.Peek(HoleSize)
		if len(block) == 0 || err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		if bytes.Equal(block, zeroBlock[:len(block)]) {
			return 0, io.EOF
		}
		b.left = len(block)
	}
	n, err := b.br.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}
