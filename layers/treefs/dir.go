package treefs

import (
	"errors"
	"io"
	"io/fs"
	"sort"
	"strings"

	"golang.org/x/sys/unix"

	"satchel/layers"
)

// The errors of look-ups that [fs] has no words for.
var (
	errNotDir = error(unix.ENOTDIR)
	errIsDir  = error(unix.EISDIR)
	errLoop   = error(unix.ELOOP)
)

// ReadDir lists the directory at name, ordered by name in bytes.
func (f *FS) ReadDir(name string) ([]fs.DirEntry, error) {
	e, err := f.lookup("readdir", name, true)
	if err != nil {
		return nil, err
	}
	if e.Type != layers.Dir {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: errNotDir}
	}
	var list []fs.DirEntry
	for i, end := f.below(e.Path); i < end; {
		p := childPath(e.Path, f.tree[i].Path)
		if c := f.at(p); c != nil {
			list = append(list, fs.FileInfoToDirEntry(newInfo(p, c)))
		}
		i += f.span(i, p)
	}
	return list, nil
}

// below returns the bounds of what lies strictly below a directory.
func (f *FS) below(dir string) (lo, hi int) {
	lo, ok := f.tree.Index(dir)
	n := f.span(lo, dir)
	if dir == "" {
		n = len(f.tree)
	}
	hi = lo + n
	if ok {
		lo++
	}
	return lo, min(hi, len(f.tree))
}

// span counts the entries from i on that are p or below it. They are one run.
func (f *FS) span(i int, p string) int {
	return sort.Search(len(f.tree)-i, func(n int) bool {
		q := f.tree[i+n].Path
		return q != p && (!strings.HasPrefix(q, p) || q[len(p)] != '/')
	})
}

// childPath cuts a path below dir down to its first name below dir.
func childPath(dir, p string) string {
	skip := len(dir)
	if dir != "" {
		skip++
	}
	if n := strings.IndexByte(p[skip:], '/'); n >= 0 {
		return p[:skip+n]
	}
	return p
}

// A dirFile is an open directory.
type dirFile struct {
	fs   *FS
	name string
	info info
	list []fs.DirEntry // what ReadDir has not returned yet
	read bool
}

func (d *dirFile) Stat() (fs.FileInfo, error) { return d.info, nil }
func (d *dirFile) Close() error               { return nil }

func (d *dirFile) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.name, Err: errIsDir}
}

// ReadDir implements [fs.ReadDirFile].
func (d *dirFile) ReadDir(n int) ([]fs.DirEntry, error) {
	if !d.read {
		list, err := d.fs.ReadDir(d.name)
		if err != nil {
			return nil, err
		}
		d.list, d.read = list, true
	}
	if n <= 0 {
		n = len(d.list)
	} else if len(d.list) == 0 {
		return nil, io.EOF
	}
	n = min(n, len(d.list))
	list := d.list[:n:n]
	d.list = d.list[n:]
	return list, nil
}

// Open opens the file or directory at name and follows symbolic links. A file
// also implements [io.ReaderAt] and [io.Seeker].
func (f *FS) Open(name string) (fs.File, error) {
	e, err := f.lookup("open", name, true)
	if err != nil {
		return nil, err
	}
	switch e.Type {
	case layers.Dir:
		return &dirFile{fs: f, name: name, info: newInfo(name, e)}, nil
	case layers.Regular:
		return &openFile{File: Open(f.ctx, f.get, e), info: newInfo(name, e)}, nil
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: errors.ErrUnsupported}
}

// ReadFile returns the contents of the file at name and follows symbolic links.
func (f *FS) ReadFile(name string) ([]byte, error) {
	e, err := f.lookup("read", name, true)
	if err == nil && e.Type != layers.Regular {
		err = &fs.PathError{Op: "read", Path: name, Err: errors.ErrUnsupported}
	}
	if err != nil {
		return nil, err
	}
	b, err := Open(f.ctx, f.get, e).readAll()
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: name, Err: err}
	}
	return b, nil
}
