package ext4

import (
	"io"
	"sort"
)

// A File reads the contents of an inode. It is an [io.ReaderAt].
type File struct {
	fs   *FS
	size int64
	runs []run
}

// File opens the contents of a regular file.
func (f *FS) File(i *Inode) (*File, error) {
	if i.Mode&TypeMask != TypeRegular {
		return nil, corrupt("inode %d of mode %#o is no regular file", i.Number, i.Mode)
	}
	runs, err := f.runs(i)
	if err != nil {
		return nil, err
	}
	return &File{f, i.Size, runs}, nil
}

// Size is the length of the file in bytes.
func (f *File) Size() int64 { return f.size }

// Data returns the first stretch of data that ends after off: bytes from start
// to end, both within the file. Everything between two stretches is a hole.
// After the last one, start and end are the file's size.
func (f *File) Data(off int64) (start, end int64) {
	n := f.find(off)
	if n == len(f.runs) {
		return f.size, f.size
	}
	start = max(off, f.start(n))
	for end = f.end(n); n+1 < len(f.runs) && f.start(n+1) == end; end = f.end(n) {
		n++
	}
	return min(start, f.size), min(end, f.size)
}

// ReadAt implements [io.ReaderAt]. Holes read as zeros.
func (f *File) ReadAt(b []byte, off int64) (int, error) {
	if off < 0 || off >= f.size {
		return 0, io.EOF
	}
	short := int64(len(b)) > f.size-off
	if short {
		b = b[:f.size-off]
	}
	clear(b)
	last := off + int64(len(b))
	for n := f.find(off); n < len(f.runs) && f.start(n) < last; n++ {
		from, to := max(off, f.start(n)), min(last, f.end(n))
		disk := int64(f.runs[n].disk)*f.fs.BlockSize + from - f.start(n)
		if err := f.fs.readAt(b[from-off:to-off], disk); err != nil {
			return 0, err
		}
	}
	if short {
		return len(b), io.EOF
	}
	return len(b), nil
}

// find returns the first run that ends after off.
func (f *File) find(off int64) int {
	return sort.Search(len(f.runs), func(n int) bool { return f.end(n) > off })
}

func (f *File) start(n int) int64 { return int64(f.runs[n].at) * f.fs.BlockSize }

func (f *File) end(n int) int64 { return int64(f.runs[n].at+f.runs[n].count) * f.fs.BlockSize }

// Readlink returns where a symlink points.
func (f *FS) Readlink(i *Inode) (string, error) {
	switch {
	case i.Mode&TypeMask != TypeSymlink:
		return "", corrupt("inode %d of mode %#o is no symlink", i.Number, i.Mode)
	case i.Size == 0 || i.Size > f.BlockSize:
		return "", corrupt("inode %d is a symlink of %d bytes", i.Number, i.Size)
	case i.Size < int64(len(i.block)) && i.flags&flagExtents == 0:
		return string(i.block[:i.Size]), nil
	}
	runs, err := f.runs(i)
	if err != nil {
		return "", err
	}
	b := make([]byte, i.Size)
	if _, err := (&File{f, i.Size, runs}).ReadAt(b, 0); err != nil {
		return "", err
	}
	return string(b), nil
}
