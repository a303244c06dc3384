package device

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"satchel/store"
)

// formatVersion is the version of all files of this package.
const formatVersion = 1

// lockPause is how long to wait between two tries to get a lock.
const lockPause = 50 * time.Millisecond

// lock waits for the lock at path until ctx is done. It ends with the process
// at the latest.
func lock(ctx context.Context, path string) (unlock func() error, err error) {
	for {
		unlock, err := tryLock(path)
		if !errors.Is(err, store.ErrBusy) {
			return unlock, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for another sync: %w", ctx.Err())
		case <-time.After(lockPause):
		}
	}
}

// tryLock takes the lock at path, or fails with [store.ErrBusy].
func tryLock(path string) (unlock func() error, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = store.ErrBusy
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	return f.Close, nil
}
