// Package bolt opens a bbolt database for the length of one operation.
//
// bbolt locks its file from open to close, and several processes use a store
// at once, so nobody keeps one open: readers share the file, a writer has it
// alone, and each gives it back at once. Whoever waits too long is told so.
//
// Invariants:
//
//   - A damaged or truncated file is an error that names it, never a panic.
//   - A file that was replaced while someone waited for it is opened anew.
//   - A transaction that returned nil is durable.
//
// Goroutines that change a database at the same time share a transaction: one
// opens the file for all who wait, so a hundred cost little more than one. Who
// only reads may read the pages past bbolt, which would map them: see
// [Snapshot].
package bolt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"

	"satchel/store"
	"satchel/store/durable"
)

// Patience is how long an operation waits for other processes before it fails
// with [store.ErrBusy].
const Patience = 30 * time.Second

// maxPause is the longest pause between two tries to get hold of the file.
const maxPause = 5 * time.Millisecond

// A File is a database in a file. Its methods may be called from several
// goroutines at once.
type File struct {
	path     string
	fs       durable.FS
	format   Format
	patience time.Duration
	mu       sync.RWMutex // spares goroutines of this process the contest for the file's lock
	queue    *queue       // updates that wait for their transaction
}

// A Format is what a database must declare itself to be.
type Format struct {
	Name    string // what the file holds
	Version uint32 // the version that this build reads and writes
	Help    string // what to do about damage
}

var (
	metaBucket = []byte("satchel")
	formatKey  = []byte("format")
)

// New returns the database in the file at path. It does not open it.
func New(path string, fsys durable.FS, format Format) *File {
	return &File{path: path, fs: fsys, format: format, patience: Patience, queue: newQueue()}
}

// Path returns the file's name.
func (f *File) Path() string { return f.path }

// SetPatience changes how long operations wait for other processes.
func (f *File) SetPatience(d time.Duration) { f.patience = d }

// Create makes the database at a temporary name, fills it, and moves it to its
// place, replacing what is there.
func (f *File) Create(tmp string, fill func(*bbolt.Tx) error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.build(tmp, fill); err != nil {
		os.Remove(tmp) // what is left of it is only litter
		return fmt.Errorf("create %s: %w", f.path, err)
	}
	return f.fs.Rename(tmp, f.path)
}

func (f *File) build(tmp string, fill func(*bbolt.Tx) error) (err error) {
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	db, err := bbolt.Open(tmp, 0o600, &bbolt.Options{FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return f.fs.Do("commit", tmp, func() error {
		return db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucket(metaBucket)
			if err != nil {
				return err
			}
			if err := b.Put(formatKey, fmt.Appendf(nil, "%s %d", f.format.Name, f.format.Version)); err != nil {
				return err
			}
			return fill(tx)
		})
	})
}

// View runs a read-only transaction. What tx hands out is valid only until fn
// returns.
func (f *File) View(ctx context.Context, fn func(tx *bbolt.Tx) error) error {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.with(ctx, true, func(db *bbolt.DB) error { return db.View(fn) })
}

// with opens the file, runs use and closes the file.
func (f *File) with(ctx context.Context, readOnly bool, use func(*bbolt.DB) error) error {
	return f.retry(ctx, func() error { return f.try(readOnly, use) })
}

func (f *File) busy() error {
	return fmt.Errorf("%s: %w for %v; try again when it has ended", f.path, store.ErrBusy, f.patience)
}

// errRetry reports a file that another process holds or has replaced.
var errRetry = errors.New("try again")

// growBy is how many bytes a database grows by. bbolt's own 16 MiB are more
// than the index of an operating system takes.
const growBy = 256 << 10

// try makes one attempt. A damaged file makes bbolt panic, or the kernel
// refuse a page beyond the end of it; both become errors here. After a panic
// the database cannot be closed, since it may hold its own locks, so only its
// file is. It stays mapped, which would keep the lock on it, too.
func (f *File) try(readOnly bool, use func(*bbolt.DB) error) (err error) {
	var file *os.File
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			if file != nil {
				_ = unix.Flock(int(file.Fd()), unix.LOCK_UN)
				file.Close()
			}
			err = f.damaged(fmt.Errorf("%v", p))
		}
	}()
	db, err := bbolt.Open(f.path, 0o600, &bbolt.Options{
		ReadOnly:     readOnly,
		Timeout:      1, // one try: the caller waits in smaller steps
		FreelistType: bbolt.FreelistMapType,
		NoStatistics: true,
		OpenFile: func(name string, flag int, _ os.FileMode) (*os.File, error) {
			var err error
			file, err = openExisting(name, flag)
			return file, err
		},
	})
	if err != nil {
		return f.openError(err)
	}
	db.AllocSize = growBy
	err = f.check(db, file)
	if err == nil {
		err = f.explain(use(db))
	}
	return errors.Join(err, db.Close())
}

// openExisting opens the file but does not make one, and refuses an empty one,
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
		file.Close() // read only so far
		return nil, err
	}
	return file, nil
}

func (f *File) openError(err error) error {
	var path *fs.PathError
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return errRetry
	case errors.Is(err, fs.ErrNotExist):
		return f.damaged(errors.New("the file is missing"))
	case errors.As(err, &path):
		return fmt.Errorf("open %s: %w", f.format.Name, err)
	default:
		return f.damaged(err)
	}
}

func (f *File) damaged(err error) error {
	return fmt.Errorf("%s: %w: %w: %s", f.path, store.ErrCorrupt, err, f.format.Help)
}

// explain says what to do about damage that the user of the database found.
func (f *File) explain(err error) error {
	if errors.Is(err, store.ErrCorrupt) {
		return fmt.Errorf("%s: %w: %s", f.path, err, f.format.Help)
	}
	return err
}

// check reports a file that is not the one its name stands for by now, is cut
// off, or is of another format.
func (f *File) check(db *bbolt.DB, file *os.File) error {
	if err := f.current(file); err != nil {
		return err
	}
	have, err := file.Stat()
	if err != nil {
		return err
	}
	return db.View(func(tx *bbolt.Tx) error {
		if tx.Size() > have.Size() {
			return f.damaged(fmt.Errorf("%d bytes: want %d", have.Size(), tx.Size()))
		}
		b := tx.Bucket(metaBucket)
		if b == nil {
			return f.damaged(fmt.Errorf("not a %s", f.format.Name))
		}
		return f.checkFormat(string(b.Get(formatKey)))
	})
}

func (f *File) checkFormat(s string) error {
	var name string
	var version uint32
	if _, err := fmt.Sscanf(s, "%s %d", &name, &version); err != nil || name != f.format.Name {
		return f.damaged(fmt.Errorf("format %.40q: want %q", s, f.format.Name))
	}
	switch {
	case version > f.format.Version:
		return fmt.Errorf("%s: %s version %d, this build reads version %d: %w: upgrade satchel",
			f.path, name, version, f.format.Version, store.ErrNewer)
	case version < f.format.Version:
		return f.damaged(fmt.Errorf("version %d, this build reads version %d", version, f.format.Version))
	}
	return nil
}
