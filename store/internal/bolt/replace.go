package bolt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Replace moves the database at the temporary name, which nobody uses, to the
// place of this one. It needs nothing of what is there now but the lock on it:
// whoever waits for that finds the file replaced and opens the new one.
func (f *File) Replace(ctx context.Context, tmp string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.retry(ctx, func() error {
		old, err := os.Open(f.path)
		if errors.Is(err, fs.ErrNotExist) {
			return f.fs.Rename(tmp, f.path)
		} else if err != nil {
			return err
		}
		defer old.Close() // read only; lets go of the lock
		if err := f.lock(old, unix.LOCK_EX); err != nil {
			return err
		}
		return f.fs.Rename(tmp, f.path)
	})
}

// current reports a file that is not the one its name stands for by now.
func (f *File) current(file *os.File) error {
	have, err := file.Stat()
	if err != nil {
		return err
	}
	want, err := os.Stat(f.path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(have, want) {
		return errRetry
	}
	return err
}

// retry calls try until it no longer fails with errRetry.
func (f *File) retry(ctx context.Context, try func() error) error {
	deadline := time.Now().Add(f.patience)
	for pause := 100 * time.Microsecond; ; pause = min(2*pause, maxPause) {
		err := try()
		if !errors.Is(err, errRetry) {
			return err
		}
		if time.Now().After(deadline) {
			return f.busy()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", f.path, ctx.Err())
		case <-time.After(pause):
		}
	}
}
