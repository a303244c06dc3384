package erofs

import (
	"context"
	"errors"
	"fmt"
	"io"

	"satchel/layers"
	"satchel/store"
)

// Options are what an image says besides its tree. The zero value is useful.
type Options struct {
	UUID       [16]byte    // of the volume
	BuildTime  layers.Time // entries with just this time take less room
	VolumeName string      // at most 15 bytes, without NUL
}

func (o *Options) check() error {
	if len(o.VolumeName) >= volumeLen {
		return fmt.Errorf("volume name %q: want at most %d bytes", o.VolumeName, volumeLen-1)
	}
	if o.BuildTime.Nsec >= 1e9 {
		return fmt.Errorf("build time: %d nanoseconds", o.BuildTime.Nsec)
	}
	return nil
}

// Stats tells what an image consists of.
type Stats struct {
	Entries  int   `json:"entries"`  // paths, the root included
	Inodes   int   `json:"inodes"`   // files and directories: hard links counted once
	Metadata int64 `json:"metadata"` // bytes of the metadata area, which are held in memory
	Data     int64 `json:"data"`     // bytes of the data area, holes included
}

// An Image is an EROFS file system of which only the metadata is in memory. It
// may be read by several goroutines at once.
type Image struct {
	meta  []byte
	files []file // in the order of their blocks
	ends  []int64
	g     store.Getter
	size  int64
	stats Stats
}

// New lays out a tree as an image whose file data is read from g on demand.
// The tree must hold its root and every directory on the way to an entry, and
// no whiteouts; it is not copied and must not change while the image is in
// use. A [layers.PathError] names what EROFS cannot hold: a symlink target of
// more than 4095 bytes, an extended attribute of more than 65535 bytes or in
// an unknown namespace, a device number beyond 4095:1048575, or more than
// 16 TiB in all.
func New(tree layers.Tree, g store.Getter, opt Options) (*Image, error) {
	if err := opt.check(); err != nil {
		return nil, fmt.Errorf("lay out image: %w", err)
	}
	l, err := newLayout(tree, opt.BuildTime)
	if err != nil {
		return nil, fmt.Errorf("lay out image: %w", err)
	}
	im := &Image{meta: l.encode(opt), g: g, size: l.blocks * blockSize}
	im.files, im.ends = l.files()
	im.stats = Stats{
		Entries:  len(tree),
		Inodes:   int(l.inodes),
		Metadata: int64(len(im.meta)),
		Data:     im.size - int64(len(im.meta)),
	}
	return im, nil
}

// Size returns the size of the image in bytes, a multiple of 4096.
func (im *Image) Size() int64 { return im.size }

// Stats tells what the image consists of.
func (im *Image) Stats() Stats { return im.stats }

// ReadAt implements [io.ReaderAt]. It fails with what the store fails with,
// and with [store.ErrCorrupt] when a chunk is not as long as the tree says.
func (im *Image) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("read image: negative offset")
	}
	if off >= im.size {
		return 0, io.EOF
	}
	var end error
	if rest := im.size - off; int64(len(p)) > rest {
		p, end = p[:rest], io.EOF
	}
	n := 0
	if off < int64(len(im.meta)) {
		n = copy(p, im.meta[off:])
	}
	for i := im.fileAt(off + int64(n)); n < len(p); i++ {
		m, err := im.readFile(i, p[n:], off+int64(n))
		n += m
		if err != nil {
			return n, err
		}
	}
	return n, end
}

// readFile fills p from off on, as far as the blocks of file i go.
func (im *Image) readFile(i int, p []byte, off int64) (int, error) {
	f := &im.files[i]
	p = p[:min(int64(len(p)), im.endOf(i)-off)]
	pos := off - f.offset()
	n := 0
	for x := im.extentAt(f, pos); n < len(p) && x < len(f.extents); x++ {
		skip := pos + int64(n) - im.startOf(f, x)
		m, err := im.readExtent(p[n:], f.extents[x], skip)
		if err != nil {
			return n, fmt.Errorf("read image: file %q at %d: %w", f.path, pos+int64(n), err)
		}
		n += m
	}
	clear(p[n:]) // what is left of the last block
	return len(p), nil
}

// readExtent fills p from an extent, beginning skip bytes into it, and returns
// how much there was.
func (im *Image) readExtent(p []byte, x layers.Extent, skip int64) (int, error) {
	if x.ID.IsZero() {
		p = p[:min(int64(len(p)), x.Len-skip)]
		clear(p)
		return len(p), nil
	}
	// An io.ReaderAt has no context to pass on: reads end with the store's.
	data, err := im.g.Get(context.Background(), x.ID)
	if err != nil {
		return 0, err
	}
	if int64(len(data)) != x.Len {
		return 0, fmt.Errorf("chunk %s has %d bytes, not %d: %w", x.ID.Short(), len(data), x.Len, store.ErrCorrupt)
	}
	return copy(p, data[skip:]), nil
}

// WriteTo implements [io.WriterTo]: it writes the whole image, holes as zeros.
func (im *Image) WriteTo(w io.Writer) (int64, error) {
	// Hiding w's other methods makes io.CopyBuffer use this buffer.
	type plain struct{ io.Writer }
	return io.CopyBuffer(plain{w}, io.NewSectionReader(im, 0, im.size), make([]byte, 1<<20))
}
