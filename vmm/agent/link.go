package agent

import (
	"io"
	"sync"
)

// A link is the writing end shared by all streams of a session.
type link struct {
	mu    sync.Mutex
	w     io.Writer
	buf   []byte
	epoch uint64 // of the session that may write
	err   error  // after one failure nothing is written
}

// send writes a frame of the session epoch; those of an older one are dropped
// with ErrClosed.
func (l *link) send(epoch uint64, f Frame) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if epoch != l.epoch {
		return ErrClosed
	}
	l.buf = AppendFrame(l.buf[:0], f)
	return l.write(l.buf)
}

// begin makes epoch the session that may write and sends its first bytes.
func (l *link) begin(epoch uint64, first []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if epoch < l.epoch {
		return ErrClosed
	}
	l.epoch = epoch
	return l.write(first)
}

func (l *link) write(b []byte) error {
	if l.err != nil {
		return l.err
	}
	_, l.err = l.w.Write(b)
	return l.err
}
