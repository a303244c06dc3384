package overlay

import (
	"sync"

	"golang.org/x/sys/unix"

	"satchel/layers/ingest"
)

// An early has the host's disk begin with what is written one piece after the
// other before a flush asks for it, so that the flush has less to wait for. It
// promises nothing: what it does not come to, the flush does.
type early struct {
	file   starter
	runs   chan ingest.Range
	active sync.WaitGroup

	mu    sync.Mutex
	last  ingest.Range // not begun yet: it may grow
	begun int64        // bytes since the last flush
}

// A starter is a file that can be told to begin writing.
type starter interface {
	// Start begins to write a range to the disk.
	Start(off, n int64) error
}

// largeWrite is the least that a write must have to be part of a run, in bytes:
// small ones are better left to the host, to put together. startSize is how long
// a run is begun with: the disk takes less time for a few large ones. maxBegun is
// how much is begun with from one flush to the next: a guest that writes more is
// not about to wait for the disk, and may write the same again.
const (
	largeWrite = 64 << 10
	startSize  = 4 << 20
	maxBegun   = 16 * startSize
)

// newEarly returns one for a file, or nil if that cannot be told.
func newEarly(data File) *early {
	file, ok := data.(starter)
	if !ok {
		return nil
	}
	e := &early{file: file, runs: make(chan ingest.Range, 16)}
	e.active.Go(func() {
		for r := range e.runs {
			_ = e.file.Start(r.Off, r.End-r.Off) // the flush will be told
		}
	})
	return e
}

// wrote is called when a range was written.
func (e *early) wrote(off, n int64) {
	if e == nil || n < largeWrite {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if off != e.last.End {
		e.last.Off = off
	}
	if e.last.End = off + n; e.last.End-e.last.Off < startSize {
		return
	}
	if e.begun < maxBegun {
		select {
		case e.runs <- e.last:
			e.begun += e.last.End - e.last.Off
		default: // the disk has enough to do
		}
	}
	e.last.Off = e.last.End
}

// flushed is called when a flush begins.
func (e *early) flushed() {
	if e == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.begun = 0
}

func (e *early) close() {
	if e != nil {
		close(e.runs)
		e.active.Wait()
	}
}

// Start implements starter.
func (f osFile) Start(off, n int64) error {
	return f.control(func(fd int) error { return unix.SyncFileRange(fd, off, n, unix.SYNC_FILE_RANGE_WRITE) })
}
