package dir

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"satchel/layers"
)

// A made file is there, but empty and not yet what its entry says.
type made struct {
	fd    int
	entry *layers.Entry
}

// createFile makes an empty file. It has the mode of its entry already where
// that leaves less to do.
func createFile(fd int, name string, e *layers.Entry) (made, error) {
	mode := uint32(e.Mode & 0o777)
	if len(e.Xattrs) > 0 {
		mode = 0o600 // some can be set only by who may write
	}
	m := made{entry: e}
	err := retry(func() (err error) {
		m.fd, err = unix.Openat(fd, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
		return err
	})
	if err != nil {
		return m, fmt.Errorf("make file: %w", err)
	}
	return m, nil
}

// close closes the file. After EINTR it is closed, too, on Linux.
func (m made) close() error {
	if err := unix.Close(m.fd); !errors.Is(err, unix.EINTR) {
		return err
	}
	return nil
}

// fill gives a new file its contents and what it carries, and closes it.
func (x *exporter) fill(ctx context.Context, m made) error {
	err := x.contents(ctx, m)
	if err == nil {
		err = x.attributes(handle{fd: m.fd}, m.entry)
	}
	if cerr := m.close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("%q: %w", m.entry.Path, err)
	}
	return nil
}

// A handle says how to reach a file for changing what it carries: a name in an
// open directory, or the open file or directory itself if the name is empty.
type handle struct {
	fd   int
	name string
}

func (h handle) flags() int {
	if h.name == "" {
		return unix.AT_EMPTY_PATH
	}
	return unix.AT_SYMLINK_NOFOLLOW
}

func (h handle) chmod(mode uint32) error {
	if h.name == "" {
		return unix.Fchmod(h.fd, mode)
	}
	return unix.Fchmodat(h.fd, h.name, mode, 0) // it is no symbolic link
}

func (h handle) setXattr(a layers.Xattr) error {
	if h.name == "" {
		return unix.Fsetxattr(h.fd, a.Name, a.Value, 0)
	}
	return unix.Lsetxattr(procPath(h.fd, h.name), a.Name, a.Value, 0)
}

// attributes gives a file what it carries besides contents and has not got by
// being made. The order counts: a change of owner takes away set-id bits and
// capabilities, a mode without write permission may forbid attributes, and all
// but time changes the time.
func (x *exporter) attributes(h handle, e *layers.Entry) error {
	var st unix.Stat_t
	if err := unix.Fstatat(h.fd, h.name, &st, h.flags()); err != nil {
		return fmt.Errorf("stat: %w", err)
	}
	if st.Uid != e.UID || st.Gid != e.GID {
		if err := unix.Fchownat(h.fd, h.name, int(e.UID), int(e.GID), h.flags()); !x.allowed(e, "owner", err) {
			return fmt.Errorf("set owner: %w", err)
		}
	}
	for _, a := range e.Xattrs {
		if err := h.setXattr(a); !x.allowed(e, "extended attribute "+a.Name, err) {
			return fmt.Errorf("set extended attribute %s: %w", a.Name, err)
		}
	}
	// A mode with set-id bits is never what the file was made with. An access
	// control list changes it.
	if e.Type != layers.Symlink && (st.Mode&0o7777 != uint32(e.Mode) || len(e.Xattrs) > 0) { // links have none on Linux
		if err := h.chmod(uint32(e.Mode)); !x.allowed(e, "mode", err) {
			return fmt.Errorf("set mode: %w", err)
		}
	}
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Sec: e.ModTime.Sec, Nsec: int64(e.ModTime.Nsec)}}
	if err := unix.UtimesNanoAt(h.fd, h.name, times, h.flags()); err != nil {
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
