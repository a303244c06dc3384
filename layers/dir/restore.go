package dir

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"satchel/layers"
	"satchel/store"
)

// createFile makes an empty file.
func createFile(fd int, name string) (*os.File, error) {
	var file int
	err := retry(func() (err error) {
		file, err = unix.Openat(fd, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("make file: %w", err)
	}
	return os.NewFile(uintptr(file), name), nil
}

// file gives a new file its contents and what it carries, and closes it.
func (x *exporter) file(ctx context.Context, f *os.File, e *layers.Entry) error {
	err := x.contents(ctx, f, e)
	if err == nil {
		err = x.attributes(handle{fd: int(f.Fd()), file: true}, e)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("%q: %w", e.Path, err)
	}
	return nil
}

func (x *exporter) contents(ctx context.Context, f *os.File, e *layers.Entry) error {
	if n := len(e.Extents); n > 0 && e.Extents[n-1].ID.IsZero() {
		if err := f.Truncate(e.Size); err != nil {
			return err
		}
	}
	var off int64
	for _, extent := range e.Extents {
		if !extent.ID.IsZero() {
			data, err := x.get.Get(ctx, extent.ID)
			if err != nil {
				return err
			}
			if int64(len(data)) != extent.Len {
				return fmt.Errorf("chunk %s has %d bytes, want %d: %w", extent.ID.Short(), len(data), extent.Len, store.ErrCorrupt)
			}
			if _, err := f.WriteAt(data, off); err != nil {
				return err
			}
		}
		off += extent.Len
	}
	return nil
}

// A handle says how to reach a file for changing what it carries: a name in a
// directory, the directory itself if the name is empty, or an open file.
type handle struct {
	fd   int
	name string
	file bool
}

// path is for system calls that take paths; they must not follow a link in it
// unless h is an open file, which is one.
func (h handle) path() string {
	if h.file {
		return "/proc/self/fd/" + strconv.Itoa(h.fd)
	}
	return procPath(h.fd, h.name)
}

// attributes gives a file what it carries besides contents. The order counts:
// a change of owner takes away set-id bits and capabilities, a mode without
// write permission may forbid attributes, and all but time changes the time.
func (x *exporter) attributes(h handle, e *layers.Entry) error {
	chown, set, flag := unix.Lchown, unix.Lsetxattr, unix.AT_SYMLINK_NOFOLLOW
	if h.file {
		chown, set, flag = unix.Chown, unix.Setxattr, 0
	}
	p := h.path()
	if err := chown(p, int(e.UID), int(e.GID)); !x.allowed(e, "owner", err) {
		return fmt.Errorf("set owner: %w", err)
	}
	for _, a := range e.Xattrs {
		if err := set(p, a.Name, a.Value, 0); !x.allowed(e, "extended attribute "+a.Name, err) {
			return fmt.Errorf("set extended attribute %s: %w", a.Name, err)
		}
	}
	if e.Type != layers.Symlink { // they have none on Linux
		if err := unix.Chmod(p, uint32(e.Mode)); !x.allowed(e, "mode", err) {
			return fmt.Errorf("set mode: %w", err)
		}
	}
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Sec: e.ModTime.Sec, Nsec: int64(e.ModTime.Nsec)}}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, p, times, flag); err != nil {
		return fmt.Errorf("set time: %w", err)
	}
	return nil
}

// allowed reports whether err is none or one that an export may end with, which
// is then noted.
func (x *exporter) allowed(e *layers.Entry, what string, err error) bool {
	if err == nil {
		return true
	}
	for _, known := range []error{unix.EPERM, unix.EACCES, unix.ENOTSUP, unix.EINVAL, unix.E2BIG, unix.ERANGE, unix.ENOSPC} {
		if errors.Is(err, known) {
			x.omitted.add(e.Path, what+" was not set", err)
			return true
		}
	}
	return false
}

// omissions gathers what could not be restored: for each kind of thing the
// first path, and how many more.
type omissions struct {
	mu    sync.Mutex
	kinds []string
	first map[string]layers.Note
	more  map[string]int
}

func (o *omissions) add(path, kind string, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, ok := o.first[kind]; ok {
		o.more[kind]++
		return
	}
	if o.first == nil {
		o.first, o.more = map[string]layers.Note{}, map[string]int{}
	}
	n := layers.Note{Path: path, Reason: kind}
	if err != nil {
		n.Reason += ": " + err.Error()
	}
	o.kinds = append(o.kinds, kind)
	o.first[kind] = n
}

func (o *omissions) list() (notes []layers.Note) {
	for _, kind := range o.kinds {
		n := o.first[kind]
		if more := o.more[kind]; more > 0 {
			n.Reason += fmt.Sprintf(" (and %d more paths)", more)
		}
		notes = append(notes, n)
	}
	return notes
}
