// Package durable owns fsync: whatever must survive a power cut goes through
// an [FS].
//
// Invariant: when a method returns nil, its effect survives a power cut; when
// it fails, the old state is still there or the new state is there whole.
//
// The one idea: a write becomes durable in steps, and each step is a place
// where a crash may fall, so each step asks [FS.Fault] first. Tests make every
// step fail in turn, both before it happens and after.
package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A Step is one durable action. Fault functions see it before it happens.
type Step struct {
	Op   string // "write", "sync", "rename", "syncdir", "mkdir", "remove" or "commit"
	Name string // the file that it is about
}

// An FS makes changes to files durable. The zero value is ready for use.
type FS struct {
	// Fault, when not nil, is asked before each step. It returns nil to let
	// the step be, or the error that the step is to report; persist says that
	// the step happens all the same, as when power fails just after it.
	Fault func(s Step) (err error, persist bool)
}

// Do runs one step.
func (f FS) Do(op, name string, do func() error) error {
	if f.Fault != nil {
		if err, persist := f.Fault(Step{op, name}); err != nil {
			if persist {
				err = errors.Join(err, do())
			}
			return fmt.Errorf("%s %s: %w", op, name, err)
		}
	}
	return do()
}

// Sync makes the contents of an open file durable.
func (f FS) Sync(file *os.File) error {
	return f.Do("sync", file.Name(), file.Sync)
}

// Datasync makes the contents of an open file durable, and of what is known
// about it as much as is needed to read them: see fdatasync(2).
func (f FS) Datasync(file *os.File) error {
	return f.Do("sync", file.Name(), func() error {
		raw, err := file.SyscallConn()
		if err != nil {
			return err
		}
		if cerr := raw.Control(func(fd uintptr) { err = unix.Fdatasync(int(fd)) }); cerr != nil {
			return cerr
		}
		return err
	})
}

// Rename moves a file whose contents are durable already to its final name,
// replacing what is there.
func (f FS) Rename(from, to string) error {
	err := f.Do("rename", to, func() error { return os.Rename(from, to) })
	if err != nil {
		return err
	}
	return f.SyncDir(filepath.Dir(to))
}

// Mkdir makes a directory, and those above it, for the owner alone. A directory
// that is there already is no error, and is durable too when Mkdir returns:
// whoever made it may not have got that far.
func (f FS) Mkdir(dir string) error {
	parent := filepath.Dir(dir)
	if _, err := os.Stat(parent); errors.Is(err, fs.ErrNotExist) {
		if err := f.Mkdir(parent); err != nil {
			return err
		}
	}
	err := f.Do("mkdir", dir, func() error { return os.Mkdir(dir, 0o700) })
	if errors.Is(err, fs.ErrExist) {
		if info, statErr := os.Stat(dir); statErr == nil && info.IsDir() {
			err = nil
		}
	}
	if err != nil {
		return err
	}
	return f.SyncDir(parent)
}

// Remove removes a file. A file that is not there is no error. Only its
// absence is promised to be seen by whoever looks next: after a power cut it
// may be back.
func (f FS) Remove(name string) error {
	return f.Do("remove", name, func() error {
		if err := os.Remove(name); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	})
}

// TempPattern is the pattern of the names of the files that WriteFile leaves
// behind when the process dies.
const TempPattern = ".tmp-*"

// WriteFile replaces the named file with data, readable by its owner alone.
func (f FS) WriteFile(name string, data []byte) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(name), TempPattern)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, tmp.Close())
			os.Remove(tmp.Name()) // what is left of it is only litter
		}
	}()
	if err := f.Do("write", name, func() error { _, err := tmp.Write(data); return err }); err != nil {
		return err
	}
	if err := f.Sync(tmp); err != nil {
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	return f.Rename(tmp.Name(), name)
}

// WriteFile replaces the named file with data, readable by its owner alone.
func WriteFile(name string, data []byte) error { return FS{}.WriteFile(name, data) }

// SyncDir makes the names in a directory durable.
func SyncDir(dir string) error { return FS{}.SyncDir(dir) }

// SyncDir makes the names in a directory durable.
func (f FS) SyncDir(dir string) error {
	return f.Do("syncdir", dir, func() error {
		d, err := os.Open(dir)
		if err != nil {
			return err
		}
		return errors.Join(d.Sync(), d.Close())
	})
}
