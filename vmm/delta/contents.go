package delta

import (
	"io"

	"satchel/layers"
	"satchel/vmm/delta/ext4"
)

// An Ingester takes the contents of files; the pipeline of the package ingest
// is one.
type Ingester interface {
	// Add stores what open gives and sets the entry's size and extents some
	// time before Wait returns.
	Add(e *layers.Entry, open func() (io.ReadCloser, error))
	// Wait returns when everything that was added is stored.
	Wait() error
}

// A sparse file is ingested in parts, one for each stretch of data: an
// Ingester reads from beginning to end and would store its holes as zeros.
type sparse struct {
	entry *layers.Entry
	size  int64
	parts []part
}

// A part is a stretch of data of a sparse file.
type part struct {
	start int64
	entry *layers.Entry // has the path of the whole file
}

// add hands a file to pl, and returns it if it has holes.
func add(pl Ingester, e *layers.Entry, f *ext4.File) *sparse {
	e.Size = f.Size()
	start, end := f.Data(0)
	if e.Size == 0 {
		return nil
	}
	if start == 0 && end == e.Size {
		pl.Add(e, stretch(f, 0, e.Size))
		return nil
	}
	s := &sparse{entry: e, size: e.Size}
	for ; start < end; start, end = f.Data(end) {
		p := part{start, &layers.Entry{Path: e.Path, Type: layers.Regular, Size: end - start}}
		s.parts = append(s.parts, p)
		pl.Add(p.entry, stretch(f, start, end))
	}
	return s
}

// stretch opens the bytes of f from start to end. The disk stays open when
// they are closed.
func stretch(f *ext4.File, start, end int64) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) {
		return io.NopCloser(io.NewSectionReader(f, start, end-start)), nil
	}
}

// join sets the extents of the whole file from those of its parts.
func (s *sparse) join() {
	var extents []layers.Extent
	at := int64(0)
	for _, p := range s.parts {
		if p.start > at {
			extents = append(extents, layers.Extent{Len: p.start - at})
		}
		extents = append(extents, p.entry.Extents...)
		at = p.start + p.entry.Size
	}
	if at < s.size {
		extents = append(extents, layers.Extent{Len: s.size - at})
	}
	s.entry.Size, s.entry.Extents = s.size, extents
}
