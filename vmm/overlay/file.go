package overlay

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"satchel/store"
	"satchel/store/durable"
)

// MapOf is the name of the map that belongs to a file of data.
func MapOf(data string) string { return data + ".map" }

// Create makes an overlay on which nothing was written yet, durably, in place of
// one that is there.
func Create(data string, base Base) error {
	if base.Size <= 0 || base.Size > MaxSize {
		return fmt.Errorf("make overlay: a disk of %d bytes, want 1 byte to 16 TiB", base.Size)
	}
	// The map goes first and comes last: while there is none, there is no overlay.
	err := os.Remove(MapOf(data))
	if err == nil {
		err = durable.SyncDir(filepath.Dir(data))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("make overlay: %w", err)
	}
	f, err := os.OpenFile(data, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("make overlay: %w", err)
	}
	err = f.Truncate(base.Size)
	if err == nil {
		err = durable.FS{}.Sync(f)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("make overlay: %w", err)
	}
	b := make([]byte, mapSize(base.Size))
	copy(b, encodeHeader(base))
	if err := durable.WriteFile(MapOf(data), b); err != nil {
		return fmt.Errorf("make overlay: %w", err)
	}
	return nil
}

// Open opens an overlay over the disk that it lies on. It reads the map, and
// none of the data. It fails with [fs.ErrNotExist] if there is none.
func Open(data string, lower Lower, on store.ID) (d *Disk, err error) {
	m, err := openFile(MapOf(data))
	if err != nil {
		return nil, fmt.Errorf("open overlay: %w", err)
	}
	f, err := openFile(data)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open overlay: %w", err), m.Close())
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("open overlay: %w", err), f.Close(), m.Close())
		}
	}()
	mapped, err := m.Stat()
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if st.Size() < lower.Size() {
		return nil, corrupt("data of %d bytes for a disk of %d", st.Size(), lower.Size())
	}
	return open(f, m, mapped.Size(), lower, on)
}

// open is Open for files that are open.
func open(data, file File, mapBytes int64, lower Lower, on store.ID) (*Disk, error) {
	base, bits, err := readMap(file, mapBytes)
	if err != nil {
		return nil, err
	}
	if base != (Base{on, lower.Size()}) {
		return nil, fmt.Errorf("it lies on version %s of %d bytes, not on %s of %d",
			base.Version.Short(), base.Size, on.Short(), lower.Size())
	}
	blocks := (base.Size + BlockSize - 1) / BlockSize
	d := &Disk{lower: lower, size: base.Size, data: data, file: file, present: bits, fresh: newFreshBits(blocks), room: newRoom(bits, base.Size), early: newEarly(data)}
	d.promptLower, _ = lower.(prompt)
	d.promptData, _ = data.(prompt)
	return d, nil
}

// Written reports how many blocks of an overlay were written, and on what it
// lies, by its map alone. It fails with [fs.ErrNotExist] if there is none.
func Written(data string) (base Base, blocks int64, err error) {
	m, err := openFile(MapOf(data))
	if err != nil {
		return base, 0, fmt.Errorf("read overlay: %w", err)
	}
	defer m.Close()
	st, err := m.Stat()
	if err != nil {
		return base, 0, err
	}
	base, bits, err := readMap(m, st.Size())
	return base, bits.count(), err
}

// osFile is a File of the file system.
type osFile struct{ *os.File }

func openFile(name string) (osFile, error) {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	return osFile{f}, err
}

// Datasync implements [File].
func (f osFile) Datasync() error { return durable.FS{}.Datasync(f.File) }

// Punch implements [File].
func (f osFile) Punch(off, n int64) error {
	err := f.control(func(fd int) error {
		return unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
	})
	if errors.Is(err, unix.EOPNOTSUPP) {
		return f.zero(off, n)
	}
	return err
}

// zero writes zeros, where the file system has no holes.
func (f osFile) zero(off, n int64) error {
	zeros := make([]byte, min(n, 1<<20))
	for n > 0 {
		m, err := f.WriteAt(zeros[:min(n, int64(len(zeros)))], off)
		if err != nil {
			return err
		}
		off, n = off+int64(m), n-int64(m)
	}
	return nil
}

// NextData implements [File].
func (f osFile) NextData(off int64) (next int64, err error) {
	err = f.control(func(fd int) (err error) {
		next, err = unix.Seek(fd, off, unix.SEEK_DATA)
		return err
	})
	switch {
	case errors.Is(err, unix.ENXIO):
		return math.MaxInt64, nil
	case errors.Is(err, unix.EINVAL): // the file system cannot tell
		return off, nil
	}
	return next, err
}

func (f osFile) control(fn func(fd int) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	if cerr := raw.Control(func(fd uintptr) { err = fn(int(fd)) }); cerr != nil {
		return cerr
	}
	return err
}
