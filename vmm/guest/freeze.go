package guest

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Limits of a freeze.
const (
	freezeDefault = 30 * time.Second
	freezeMax     = 60 * time.Second
)

// ioctls of linux/fs.h: _IOWR('X', 119, int) and _IOWR('X', 120, int).
const (
	ioctlFreeze = 0xC0045877
	ioctlThaw   = 0xC0045878
)

var errThawed = errors.New("not frozen, or not any more")

// A freezer holds the writing to a file system. A timer ends each freeze that
// nobody else does, so that a host that is lost cannot stop the guest for good.
type freezer struct {
	dir string

	mu    sync.Mutex
	timer *time.Timer // nil: not frozen
	turn  int         // counts the timers
}

// freeze freezes, or prolongs a freeze; 0 is the default time.
func (f *freezer) freeze(longest time.Duration) error {
	if longest <= 0 {
		longest = freezeDefault
	}
	longest = min(longest, freezeMax)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.timer == nil {
		if err := f.ioctl(ioctlFreeze); err != nil {
			return fmt.Errorf("freeze: %w", err)
		}
	} else {
		f.timer.Stop()
	}
	f.turn++
	turn := f.turn
	f.timer = time.AfterFunc(longest, func() { f.expire(turn) })
	return nil
}

// expire thaws when the timer of a freeze has run out; one that was stopped too
// late does nothing.
func (f *freezer) expire(turn int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.timer != nil && f.turn == turn {
		_ = f.release() // nobody is there to be told
	}
}

// thaw ends a freeze.
func (f *freezer) thaw() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.timer == nil {
		return errThawed
	}
	f.timer.Stop()
	return f.release()
}

func (f *freezer) release() error {
	f.timer = nil
	if err := f.ioctl(ioctlThaw); err != nil {
		return fmt.Errorf("thaw: %w", err)
	}
	return nil
}

func (f *freezer) ioctl(request uint) error {
	if f.dir == "" {
		return errors.New("no delta disk")
	}
	dir, err := os.Open(f.dir)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.IoctlSetInt(int(dir.Fd()), request, 0); err != nil {
		return &os.PathError{Op: "ioctl", Path: f.dir, Err: err}
	}
	return nil
}
