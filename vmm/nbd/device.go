package nbd

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"time"
)

// A device is an export with the answers to what else it can do.
type device struct {
	Export
	size   int64
	write  io.WriterAt // nil: read-only
	flush  Flusher     // the rest: nil when it cannot
	trim   Trimmer
	zero   Zeroer
	alloc  Allocator
	prompt Prompter
	filer  Filer
	count  counters
}

func newDevice(e Export) *device {
	d := &device{Export: e, size: max(e.Size(), 0)}
	d.alloc, _ = e.(Allocator)
	d.prompt, _ = e.(Prompter)
	d.filer, _ = e.(Filer)
	d.count.touched, d.count.begun = newTouched(d.size), map[*request]time.Time{}
	if w, ok := e.(io.WriterAt); ok {
		d.write = w
		d.flush, _ = e.(Flusher)
		d.trim, _ = e.(Trimmer)
		d.zero, _ = e.(Zeroer)
	}
	return d
}

// flags returns the transmission flags.
func (d *device) flags(structured bool) uint16 {
	f := uint16(sendHasFlags | sendCanMultiConn | sendCache)
	if structured {
		f |= sendDF
	}
	if d.write == nil {
		return f | sendReadOnly
	}
	f |= sendWriteZeroes
	if d.flush != nil {
		f |= sendFlush | sendFUA
	}
	if d.trim != nil {
		f |= sendTrim
	}
	return f
}

// read fills b from the export, which holds all of it.
func (d *device) read(b []byte, off int64) error {
	n, err := d.ReadAt(b, off)
	if n == len(b) {
		d.count.read(off, int64(n))
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read at %d: %w", off, err)
}

// source is the [source] that reads.
func (d *device) source(b []byte, off int64) (piece, error) {
	return piece{data: b}, d.read(b, off)
}

// change does a write, trim or zeroing, and makes it durable if fua is set.
func (d *device) change(fua bool, do func() error) error {
	if err := do(); err != nil || !fua || d.flush == nil {
		return err
	}
	return d.flush.Flush()
}

func (d *device) writeAt(b []byte, off int64) error {
	n, err := d.write.WriteAt(b, off)
	d.count.written.Add(int64(n))
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	return err
}

// zeroes is what zeroing writes where the export has no better way.
var zeroes [256 << 10]byte

func (d *device) writeZeroes(off, length int64, punch bool) error {
	if d.zero != nil {
		err := d.zero.Zero(off, length, punch)
		if err == nil {
			d.count.written.Add(length)
		}
		return err
	}
	for length > 0 {
		n := min(length, int64(len(zeroes)))
		if err := d.writeAt(zeroes[:n], off); err != nil {
			return err
		}
		off, length = off+n, length-n
	}
	return nil
}

// runs yields what a range consists of, whatever the export's allocator says:
// runs of no length are skipped, the last is cut at the end of the range, and
// what is missing counts as data.
func (d *device) runs(off, length int64) iter.Seq[Run] {
	return func(yield func(Run) bool) {
		if d.alloc != nil {
			for r := range d.alloc.Runs(off, length) {
				r.Length = min(r.Length, length)
				if r.Length <= 0 {
					continue
				}
				if length -= r.Length; !yield(r) || length == 0 {
					return
				}
			}
		}
		if length > 0 {
			yield(Run{Length: length})
		}
	}
}
