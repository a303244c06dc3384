package qemu

import (
	"fmt"
	"os"
	"sync"
)

// maxTranscript is how much of QEMU's messages is kept in memory, in bytes.
const maxTranscript = 64 << 10

// A transcript keeps the end of what QEMU says, and all of it in a file when
// there is one. It takes everything: QEMU must not end because a log is full.
type transcript struct {
	mu   sync.Mutex
	tail []byte
	log  *os.File // nil: none
}

func newTranscript(log string) (*transcript, error) {
	t := &transcript{}
	if log == "" {
		return t, nil
	}
	f, err := os.OpenFile(log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	t.log = f
	return t, nil
}

// Write implements [io.Writer] and never fails.
func (t *transcript) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.log != nil {
		_, _ = t.log.Write(b) // the log is for people; the tail is kept all the same
	}
	t.tail = append(t.tail, b...)
	if over := len(t.tail) - maxTranscript; over > 0 {
		t.tail = append(t.tail[:0], t.tail[over:]...)
	}
	return len(b), nil
}

// String returns the end of what was said.
func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.tail)
}

// Close closes the file.
func (t *transcript) Close() error {
	if t.log == nil {
		return nil
	}
	return t.log.Close()
}
