// Package overlay is the disk of a guest that brings its own system: writable,
// over a disk that never changes.
//
// # Vocabulary
//
// The lower is the disk that lies below. What the guest writes goes to the data,
// a sparse file as large as the disk. The map has a bit for each block of 4 KiB:
// whether it is read from the data or from the lower. A bit is fresh as long as
// only memory knows it, and durable when the map's file has it.
//
// # Invariants
//
//   - A bit becomes durable only after the block's data is: so a durable bit
//     never shows what was not written.
//   - What was written before a flush reads back after any crash behind it.
//     What was written after the last flush reads back, or as it was before, by
//     the block.
//   - Bits are only ever set. So it does not matter in which order the map's
//     bytes reach the disk, nor that a cut tears them.
//
// # The one idea
//
// The map need not be as new as the data. A block without a durable bit reads
// as below, which is what a disk may do with a write that was not flushed. So a
// write costs a write, and a flush costs one more sync, and that only if blocks
// were written for the first time.
//
// The files are specified in docs/format/overlay.md.
package overlay

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"satchel/store"
)

// BlockSize is the size in bytes of the blocks that the map tells apart.
const BlockSize = 4096

// MaxSize is the largest disk, in bytes: its map has 512 MiB.
const MaxSize = 16 << 40

// A Lower is a disk that does not change. Its methods may be called from
// several goroutines at once.
type Lower interface {
	io.ReaderAt
	Size() int64 // bytes
	// Run returns how many bytes from off on, which is within the disk, are of
	// one kind: known to be zeros without reading them, or not.
	Run(off int64) (n int64, zeros bool)
}

// A File is one of an overlay's two files. Its methods may be called from
// several goroutines at once.
type File interface {
	io.ReaderAt
	io.WriterAt
	// Datasync returns when what was written survives a power cut.
	Datasync() error
	// Punch makes a range zeros that take no space.
	Punch(off, n int64) error
	// NextData returns where the next bytes at or behind off are that are not
	// known to be zeros, or any number beyond the file's end.
	NextData(off int64) (int64, error)
	Close() error
}

// A Disk is a lower with what was written over it. Its methods may be called
// from several goroutines at once, but Close.
type Disk struct {
	lower   Lower
	size    int64
	data    File
	file    File // of the map
	present bitmap
	fresh   freshBits
	room    *room
	early   *early

	promptLower, promptData prompt // nil: cannot tell

	// alone is held shared by writes of whole blocks, and alone by a write that
	// must first bring up the rest of a block.
	alone sync.RWMutex

	flushing sync.Mutex // held by who flushes; guards lost
	lost     error      // why some of the data may never become durable, or nil
	mu       sync.Mutex // guards waiting
	waiting  *flush     // not begun yet
}

// Size is the disk's size in bytes.
func (d *Disk) Size() int64 { return d.size }

var errRange = errors.New("beyond the end of the disk")

func (d *Disk) check(off, n int64) error {
	if off < 0 || n < 0 || off > d.size-n {
		return fmt.Errorf("%d bytes at %d: %w", n, off, errRange)
	}
	return nil
}

// ReadAt implements [io.ReaderAt].
func (d *Disk) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= d.size {
		return 0, io.EOF
	}
	var end error
	if rest := d.size - off; int64(len(p)) > rest {
		p, end = p[:rest], io.EOF
	}
	done := 0
	for done < len(p) {
		at := off + int64(done)
		written, until := d.run(at, off+int64(len(p)))
		part := p[done : int64(done)+until-at]
		from := io.ReaderAt(d.lower)
		if written {
			from = d.data
		}
		n, err := from.ReadAt(part, at)
		if done += n; n < len(part) {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return done, fmt.Errorf("read disk at %d: %w", at, err)
		}
	}
	return done, end
}

// run tells whether the byte at off was written, and up to where the same is
// true, but not beyond end.
func (d *Disk) run(off, end int64) (written bool, until int64) {
	first, last := off/BlockSize, (end+BlockSize-1)/BlockSize
	written = d.present.get(first)
	return written, min(d.present.next(first, last, !written)*BlockSize, end)
}

// WriteAt implements [io.WriterAt].
func (d *Disk) WriteAt(p []byte, off int64) (int, error) {
	if err := d.check(off, int64(len(p))); err != nil || len(p) == 0 {
		return 0, err
	}
	end := off + int64(len(p))
	first, last := off/BlockSize, (end-1)/BlockSize
	if d.torn(off, first) || d.torn(end, last) {
		d.alone.Lock()
		defer d.alone.Unlock()
		if err := errors.Join(d.bringUp(off, first), d.bringUp(end, last)); err != nil {
			return 0, err
		}
	} else {
		d.alone.RLock()
		defer d.alone.RUnlock()
	}
	d.room.make(d.data, off, end)
	n, err := d.data.WriteAt(p, off)
	if err != nil {
		return n, fmt.Errorf("write disk at %d: %w", off, err)
	}
	d.mark(first, last+1)
	d.early.wrote(off, int64(n))
	return n, nil
}

// torn reports whether a write that begins or ends at edge, in that block, needs
// the rest of the block from below.
func (d *Disk) torn(edge, block int64) bool {
	return edge%BlockSize != 0 && edge != d.size && !d.present.get(block)
}

// bringUp copies a torn block up. The caller holds d.alone alone.
func (d *Disk) bringUp(edge, block int64) error {
	if !d.torn(edge, block) {
		return nil
	}
	var buf [BlockSize]byte
	off := block * BlockSize
	b := buf[:min(BlockSize, d.size-off)]
	if n, err := d.lower.ReadAt(b, off); n < len(b) {
		return fmt.Errorf("read below the disk at %d: %w", off, errors.Join(err, io.ErrUnexpectedEOF))
	}
	d.room.make(d.data, off, off+int64(len(b)))
	if _, err := d.data.WriteAt(b, off); err != nil {
		return fmt.Errorf("write disk at %d: %w", off, err)
	}
	d.mark(block, block+1)
	return nil
}

// mark notes that blocks were written, up to last, which is not.
func (d *Disk) mark(first, last int64) {
	if d.present.next(first, last, false) == last {
		return
	}
	d.fresh.set(&d.present, first, last)
}

// Zero makes a range read as zeros. It is always made a hole, since what a disk
// over another takes of the host is not the guest's to say.
func (d *Disk) Zero(off, n int64, _ bool) error {
	if err := d.check(off, n); err != nil {
		return err
	}
	end := off + n
	from := min((off+BlockSize-1)/BlockSize*BlockSize, end)
	to := end
	if end != d.size {
		to = max(end/BlockSize*BlockSize, from)
	}
	var zeros [BlockSize]byte
	if _, err := d.WriteAt(zeros[:from-off], off); err != nil {
		return err
	}
	if _, err := d.WriteAt(zeros[:end-to], to); err != nil {
		return err
	}
	return d.clear(from, to)
}

// Trim makes the whole blocks of a range zeros, and nothing of the others.
func (d *Disk) Trim(off, n int64) error {
	if err := d.check(off, n); err != nil {
		return err
	}
	from, to := (off+BlockSize-1)/BlockSize*BlockSize, off+n
	if to != d.size {
		to = to / BlockSize * BlockSize
	}
	return d.clear(from, to)
}

// clear makes whole blocks zeros. Those that are zeros below, and were never
// written, stay as they are: so a guest that trims all that is free, as they do,
// has not changed it.
func (d *Disk) clear(from, to int64) error {
	d.alone.RLock()
	defer d.alone.RUnlock()
	for from < to {
		written, until := d.run(from, to)
		if !written {
			n, zeros := d.lower.Run(from)
			if zeros && from+n < until {
				n = n / BlockSize * BlockSize
			}
			if zeros && n > 0 {
				from = min(from+n, until)
				continue
			}
			until = min(from+max((n+BlockSize-1)/BlockSize, 1)*BlockSize, until)
		}
		if err := d.data.Punch(from, until-from); err != nil {
			return fmt.Errorf("clear disk at %d: %w", from, err)
		}
		d.mark(from/BlockSize, (until+BlockSize-1)/BlockSize)
		from = until
	}
	return nil
}

// Close flushes the disk and closes its files.
func (d *Disk) Close() error {
	d.early.close()
	return errors.Join(d.Flush(), d.data.Close(), d.file.Close())
}

// Base is what the map says of the lower: which version it is, and its size.
type Base struct {
	Version store.ID
	Size    int64 // bytes
}
