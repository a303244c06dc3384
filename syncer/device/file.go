package device

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"satchel/store"
)

// formatVersion is the version of all files of this package.
const formatVersion = 1

// maxFile bounds the size of a file that is read, in bytes.
const maxFile = 64 << 20

// header is the part of a file that every version of the format begins with.
type header struct {
	Format  string `json:"format"`
	Version int    `json:"version"`
}

// readJSON reads a file of the given format into v. It fails with
// [store.ErrNotExist], [store.ErrNewer] or [store.ErrCorrupt].
func readJSON(path, format string, v any) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s %w", path, store.ErrNotExist)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	if err := decode(b, format, v); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

func decode(b []byte, format string, v any) error {
	if len(b) > maxFile {
		return fmt.Errorf("longer than %d bytes: %w", maxFile, store.ErrCorrupt)
	}
	var h header
	if err := json.Unmarshal(b, &h); err != nil {
		return fmt.Errorf("%w: %w", err, store.ErrCorrupt)
	}
	switch {
	case h.Format != format || h.Version < 1:
		return fmt.Errorf("format %.40q version %d, not %q: %w", h.Format, h.Version, format, store.ErrCorrupt)
	case h.Version > formatVersion:
		return fmt.Errorf("%s version %d, this build reads version %d: %w", format, h.Version, formatVersion, store.ErrNewer)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%w: %w", err, store.ErrCorrupt)
	}
	return nil
}

// writeJSON replaces the file at path, durably.
func writeJSON(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return writeFile(path, append(b, '\n'))
}

// writeFile replaces the file at path, readable by its owner alone. When it
// returns nil, the new contents survive a power cut; when it fails, the old
// contents are still there or the new ones are there whole.
func writeFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".write-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already if all went well
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

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
