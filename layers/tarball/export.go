package tarball

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"

	"satchel/layers"
	"satchel/layers/treefs"
	"satchel/store"
)

// Export writes a tree, with contents from g, as a pax archive in which GNU tar
// and bsdtar find everything: extended attributes and ACLs in records as they
// both write them, holes as GNU sparse files of version 1.0, whiteouts and
// opaque directories as OCI image layers mark them.
func Export(ctx context.Context, t layers.Tree, g store.Getter, w io.Writer) error {
	if err := t.Check(); err != nil {
		return fmt.Errorf("write archive: %w", err)
	}
	x := &exporter{ctx: ctx, get: g, w: bufio.NewWriterSize(w, 1<<20)}
	for i := range t {
		if err := x.entry(t, &t[i]); err != nil {
			return fmt.Errorf("write archive: %q: %w", t[i].Path, err)
		}
	}
	x.pad(2 * blockSize) // the end of an archive
	if err := x.w.Flush(); err != nil {
		return fmt.Errorf("write archive: %w", err)
	}
	return nil
}

// An exporter writes to a buffer, which remembers the first error.
type exporter struct {
	ctx context.Context
	get store.Getter
	w   *bufio.Writer
}

func (x *exporter) entry(t layers.Tree, e *layers.Entry) error {
	if err := x.ctx.Err(); err != nil {
		return err
	}
	switch e.Type {
	case layers.Whiteout:
		dir, name := splitLast(e.Path)
		return x.mark(dir + whiteoutPrefix + name)
	case layers.Hardlink:
		first := *t.Resolve(e)
		first.Xattrs = nil // they came with the first name
		h := headerOf(&first)
		h.name, h.kind, h.link, h.size = e.Path, '1', first.Path, 0
		return x.header(h)
	case layers.Regular:
		return x.file(e)
	}
	h := headerOf(e)
	if e.Type == layers.Dir {
		h.name = strings.TrimPrefix(e.Path+"/", "/")
		if e.Path == "" {
			h.name = "./"
		}
	}
	if err := x.header(h); err != nil {
		return err
	}
	if e.Opaque {
		return x.mark(strings.TrimPrefix(e.Path+"/", "/") + whiteoutOpaque)
	}
	return nil
}

// mark writes the empty file that stands for something removed.
func (x *exporter) mark(name string) error {
	return x.header(header{name: name, kind: '0'})
}

// splitLast cuts a path before its last name; dir keeps its slash.
func splitLast(path string) (dir, name string) {
	i := strings.LastIndexByte(path, '/') + 1
	return path[:i], path[i:]
}

// file writes a regular file.
func (x *exporter) file(e *layers.Entry) error {
	h := headerOf(e)
	data := dataOf(e)
	whole := len(data) == 1 && data[0].end-data[0].off == e.Size || e.Size == 0
	var list string
	if !whole {
		list = sparseMap(data, e.Size)
		h.record("GNU.sparse.major", "1")
		h.record("GNU.sparse.minor", "0")
		h.record("GNU.sparse.name", e.Path)
		h.record("GNU.sparse.realsize", fmt.Sprint(e.Size))
		dir, name := splitLast(e.Path)
		h.name = dir + "GNUSparseFile.0/" + name
		h.size = int64(len(list))
		for _, d := range data {
			h.size += d.end - d.off
		}
	}
	if err := x.header(h); err != nil {
		return err
	}
	x.w.WriteString(list)
	f := treefs.Open(x.ctx, x.get, e)
	for _, d := range data {
		if _, err := io.Copy(x.w, io.NewSectionReader(f, d.off, d.end-d.off)); err != nil {
			return err
		}
	}
	x.pad(-h.size & (blockSize - 1))
	return nil
}

// A span is a run of data between holes.
type span struct{ off, end int64 }

func dataOf(e *layers.Entry) (data []span) {
	var off int64
	for _, x := range e.Extents {
		end := off + x.Len
		switch last := len(data) - 1; {
		case x.ID.IsZero():
		case last >= 0 && data[last].end == off:
			data[last].end = end
		default:
			data = append(data, span{off, end})
		}
		off = end
	}
	return data
}

// sparseMap lists where data is, in whole blocks. A hole at the end of the file
// is marked by a run of no data there.
func sparseMap(data []span, size int64) string {
	if len(data) == 0 || data[len(data)-1].end < size {
		data = append(data[:len(data):len(data)], span{size, size})
	}
	var b strings.Builder
	fmt.Fprintln(&b, len(data))
	for _, d := range data {
		fmt.Fprintf(&b, "%d\n%d\n", d.off, d.end-d.off)
	}
	b.Write(make([]byte, -b.Len()&(blockSize-1)))
	return b.String()
}

func (x *exporter) pad(n int64) {
	x.w.Write(make([]byte, n))
}
