package overlay

import (
	"sync"

	"golang.org/x/sys/unix"
)

// An early has the host's disk begin with large writes before a flush asks for
// them, so that the flush has less to wait for. It promises nothing: what it does
// not come to, the flush does.
type early struct {
	file   starter
	ranges chan [2]int64 // offset and length
	active sync.WaitGroup
}

// A starter is a file that can be told to begin writing.
type starter interface {
	// Start begins to write a range to the disk.
	Start(off, n int64) error
}

// largeWrite is the least that it is worth for, in bytes. Small ones are better
// left to the host, to put together.
const largeWrite = 64 << 10

// newEarly returns one for a file, or nil if that cannot be told.
func newEarly(data File) *early {
	file, ok := data.(starter)
	if !ok {
		return nil
	}
	e := &early{file: file, ranges: make(chan [2]int64, 64)}
	e.active.Go(func() {
		for r := range e.ranges {
			_ = e.file.Start(r[0], r[1]) // the flush will be told
		}
	})
	return e
}

// wrote is called when a range was written.
func (e *early) wrote(off, n int64) {
	if e == nil || n < largeWrite {
		return
	}
	select {
	case e.ranges <- [2]int64{off, n}:
	default: // the disk has enough to do
	}
}

func (e *early) close() {
	if e != nil {
		close(e.ranges)
		e.active.Wait()
	}
}

// Start implements starter.
func (f osFile) Start(off, n int64) error {
	return f.control(func(fd int) error { return unix.SyncFileRange(fd, off, n, unix.SYNC_FILE_RANGE_WRITE) })
}
