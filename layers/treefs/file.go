package treefs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sort"
	"sync"
	"time"

	"satchel/layers"
	"satchel/store"
)

// A File reads the contents of a regular entry. It may be used by several
// goroutines at once.
type File struct {
	ctx  context.Context
	get  store.Getter
	path string
	xs   []layers.Extent
	ends []int64 // of each extent in the file

	mu   sync.Mutex // guards what follows
	last store.ID   // the chunk that was read last
	data []byte
}

// Open returns the contents of e, a [layers.Regular], as they lie in g, readable
// until ctx is done.
func Open(ctx context.Context, g store.Getter, e *layers.Entry) *File {
	f := &File{ctx: ctx, get: g, path: e.Path, xs: e.Extents, ends: make([]int64, len(e.Extents))}
	var end int64
	for i, x := range e.Extents {
		end += x.Len
		f.ends[i] = end
	}
	return f
}

// Size is the file's size in bytes.
func (f *File) Size() int64 {
	if len(f.ends) == 0 {
		return 0
	}
	return f.ends[len(f.ends)-1]
}

// ReadAt implements [io.ReaderAt]. Holes read as zeros.
func (f *File) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fmt.Errorf("read %q at %d: %w", f.path, off, fs.ErrInvalid)
	}
	i := sort.Search(len(f.ends), func(i int) bool { return f.ends[i] > off })
	for ; n < len(p) && i < len(f.xs); i++ {
		x := f.xs[i]
		skip := off + int64(n) - (f.ends[i] - x.Len)
		part := p[n:min(int64(len(p)), int64(n)+x.Len-skip)]
		if x.ID.IsZero() {
			clear(part)
		} else {
			data, err := f.chunk(x)
			if err != nil {
				return n, fmt.Errorf("read %q: %w", f.path, err)
			}
			copy(part, data[skip:])
		}
		n += len(part)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// chunk returns the bytes of an extent. The last chunk is kept, since small
// reads tend to stay in it.
func (f *File) chunk(x layers.Extent) ([]byte, error) {
	f.mu.Lock()
	if f.last == x.ID {
		defer f.mu.Unlock()
		return f.data, nil
	}
	f.mu.Unlock()
	data, err := f.get.Get(f.ctx, x.ID)
	if err != nil {
		return nil, err
	}
	if int64(len(data)) != x.Len {
		return nil, fmt.Errorf("chunk %s has %d bytes, want %d: %w", x.ID.Short(), len(data), x.Len, store.ErrCorrupt)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last, f.data = x.ID, data
	return data, nil
}

func (f *File) readAll() ([]byte, error) {
	if f.Size() > maxReadFile {
		return nil, fmt.Errorf("%d bytes are more than %d: open the file instead", f.Size(), int64(maxReadFile))
	}
	b := make([]byte, f.Size())
	if _, err := f.ReadAt(b, 0); err != nil {
		return nil, err
	}
	return b, nil
}

// maxReadFile bounds, in bytes, what ReadFile takes into memory.
const maxReadFile = 1 << 30

// An openFile is a file of an FS, with a position.
type openFile struct {
	*File
	info info
	off  int64
}

// Stat implements [fs.File].
func (f *openFile) Stat() (fs.FileInfo, error) { return f.info, nil }

// Close implements [fs.File].
func (f *openFile) Close() error { return nil }

// Read implements [fs.File].
func (f *openFile) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err := f.ReadAt(p, f.off)
	f.off += int64(n)
	if n > 0 && errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// Seek implements [io.Seeker].
func (f *openFile) Seek(off int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		off += f.off
	case io.SeekEnd:
		off += f.Size()
	}
	if off < 0 {
		return 0, &fs.PathError{Op: "seek", Path: f.path, Err: fs.ErrInvalid}
	}
	f.off = off
	return off, nil
}

// An info is an entry as [fs.FileInfo].
type info struct {
	name  string
	entry *layers.Entry
}

func newInfo(name string, e *layers.Entry) info {
	if name == "" {
		name = "."
	}
	_, last := layers.SplitPath(name)
	return info{last, e}
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return max(i.entry.Size, int64(len(i.entry.Target))) }
func (i info) ModTime() time.Time { return i.entry.ModTime.Time() }
func (i info) IsDir() bool        { return i.entry.Type == layers.Dir }
func (i info) Sys() any           { return i.entry }

func (i info) Mode() fs.FileMode {
	m := fs.FileMode(i.entry.Mode & 0o777)
	if i.entry.Mode&0o4000 != 0 {
		m |= fs.ModeSetuid
	}
	if i.entry.Mode&0o2000 != 0 {
		m |= fs.ModeSetgid
	}
	if i.entry.Mode&0o1000 != 0 {
		m |= fs.ModeSticky
	}
	return m | typeMode[i.entry.Type]
}

// typeMode has the type bits of each type of file.
var typeMode = map[layers.Type]fs.FileMode{
	layers.Dir:      fs.ModeDir,
	layers.Symlink:  fs.ModeSymlink,
	layers.CharDev:  fs.ModeDevice | fs.ModeCharDevice,
	layers.BlockDev: fs.ModeDevice,
	layers.Fifo:     fs.ModeNamedPipe,
}
