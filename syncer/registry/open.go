package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"

	"satchel/store"
)

// The format that a file declares itself to be. The rows of a table are JSON by
// key; a new version of any of them is a new version of the whole.
const (
	formatName    = "satchel-registry"
	formatVersion = 1
)

// patience is how long opening waits for another process to end.
const patience = 2 * time.Second

var (
	metaBucket = []byte("satchel")
	formatKey  = []byte("format")
	metaKey    = []byte("server")
)

// create makes a registry at a temporary name and moves it to its place.
func create(path string, m meta) (err error) {
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("%s: %w", path, store.ErrExist)
	}
	tmp := path + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	value, err := json.Marshal(m)
	if err != nil {
		return err
	}
	db, err := bbolt.Open(tmp, 0o600, &bbolt.Options{Timeout: patience})
	if err != nil {
		return fmt.Errorf("create %s: %w", path, err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucket(metaBucket)
		if err != nil {
			return err
		}
		if err := b.Put(formatKey, fmt.Appendf(nil, "%s %d", formatName, formatVersion)); err != nil {
			return err
		}
		return b.Put(metaKey, value)
	})
	if err := errors.Join(err, db.Close()); err != nil {
		return fmt.Errorf("create %s: %w", path, err)
	}
	return rename(tmp, path)
}

// rename moves a file, durably.
func rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(to))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// open opens the file and reads all of it. A damaged one makes bbolt panic, or
// the kernel refuse a page beyond its end; both become errors here, and as
// every page is read now, nowhere else.
func (r *Registry) open(path string) (err error) {
	damaged := func(why any) error {
		return fmt.Errorf("%s: %w: %v: restore this file from a backup", path, store.ErrCorrupt, why)
	}
	var file *os.File
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = damaged(p)
			abandon(file)
		}
	}()
	r.db, err = bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout:      patience,
		NoStatistics: true,
		OpenFile: func(name string, flag int, _ os.FileMode) (*os.File, error) {
			file, err = openExisting(name, flag)
			return file, err
		},
	})
	var system *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s: %w", path, store.ErrNotExist)
	case errors.Is(err, berrors.ErrTimeout):
		return fmt.Errorf("%s: %w", path, store.ErrBusy)
	case errors.As(err, &system):
		return fmt.Errorf("open registry: %w", err)
	case err != nil:
		return damaged(err)
	}
	if err := r.db.View(r.load); err != nil {
		err = errors.Join(err, r.db.Close())
		if errors.Is(err, store.ErrNewer) {
			return fmt.Errorf("%s: %w: upgrade satchel", path, err)
		}
		return damaged(err)
	}
	return nil
}

// abandon gives up the file of a database that has panicked. That cannot be
// closed, since it may hold its own locks; it stays mapped, which would keep
// the lock on the file, too.
func abandon(file *os.File) {
	if file != nil {
		_ = unix.Flock(int(file.Fd()), unix.LOCK_UN)
		file.Close()
	}
}

// openExisting opens a file but does not make one, and refuses an empty one,
// which bbolt would take for new.
func openExisting(name string, flag int) (*os.File, error) {
	file, err := os.OpenFile(name, flag&^os.O_CREATE, 0)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && info.Size() == 0 {
		err = berrors.ErrInvalid
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// load checks the file's format and reads all tables.
func (r *Registry) load(tx *bbolt.Tx) error {
	b := tx.Bucket(metaBucket)
	if b == nil {
		return errors.New("not a registry")
	}
	var name string
	var version int
	format := string(b.Get(formatKey))
	if _, err := fmt.Sscanf(format, "%s %d", &name, &version); err != nil || name != formatName || version < 1 {
		return fmt.Errorf("format %.40q: want %q", format, formatName)
	}
	if version > formatVersion {
		return fmt.Errorf("%s version %d, this build reads version %d: %w", name, version, formatVersion, store.ErrNewer)
	}
	if err := json.Unmarshal(b.Get(metaKey), &r.meta); err != nil {
		return err
	}
	return errors.Join(r.users.load(tx), r.groups.load(tx), r.devices.load(tx),
		r.tokens.load(tx), r.layers.load(tx), r.works.load(tx),
		r.published.load(tx), r.rollouts.load(tx), r.reports.load(tx))
}
