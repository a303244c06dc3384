package workspace

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"satchel/store"
)

// Lock takes the exclusive right to run a session in a workspace, and returns
// a function that gives it back. It ends with the process at the latest. It
// fails with [store.ErrBusy], naming the process that has it, and with
// [store.ErrNotExist] when there is no such workspace.
func (s *Set) Lock(name string) (unlock func() error, err error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(s.Dir(name), definitionFile)); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = store.ErrNotExist
		}
		return nil, fmt.Errorf("workspace %s: %w", name, err)
	}
	path := filepath.Join(s.Dir(name), lockFile)
	f, err := flock(path, unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, fmt.Errorf("workspace %s: %w%s", name, store.ErrBusy, holder(path))
	}
	if err != nil {
		return nil, fmt.Errorf("lock workspace %s: %w", name, err)
	}
	if err := f.Truncate(0); err == nil { // the number is only for people
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	return unlocker(f), nil
}

// unlocker returns what gives a lock back. Closing the file alone would not do
// while a program that is being started still has its copy of the descriptor.
func unlocker(f *os.File) func() error {
	return func() error { return errors.Join(unix.Flock(int(f.Fd()), unix.LOCK_UN), f.Close()) }
}

// holder names the process that has a lock, for an error.
func holder(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	b, _ := io.ReadAll(io.LimitReader(f, 32))
	if pid, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil {
		return fmt.Sprintf(": process %d", pid)
	}
	return ""
}

// lockSet waits for the right to change a set of workspaces. It is held for a
// few small writes only.
func lockSet(path string) (unlock func() error, err error) {
	f, err := flock(path, unix.LOCK_EX)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return unlocker(f), nil
}

// flock locks the file at path, which it makes if need be. A file that lost
// its name while we waited for it protects nothing, so then it starts over.
func flock(path string, how int) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		if err := lockOpen(f, how); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		held, err := f.Stat()
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		named, err := os.Stat(path)
		if err == nil && os.SameFile(held, named) {
			return f, nil
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
	}
}

func lockOpen(f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
