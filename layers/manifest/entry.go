package manifest

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"

	"satchel/layers"
	"satchel/store"
)

// Limits of an entry.
const (
	maxInline    = 32      // extents, or references to lists, kept in the entry
	maxXattrName = 255     // bytes, as the kernel has it
	maxXattr     = 1 << 16 // bytes of one value, as the kernel has it
	maxXattrs    = 1 << 20 // bytes of all names and values
	maxMode      = 0o7777
	maxLen       = 1 << 62 // bytes of a hole, so that its length and a flag fit 64 bits
)

// The first byte of an entry: its type, and these flags.
const (
	typeMask    = 0x0f
	flagOpaque  = 0x10
	flagXattrs  = 0x20
	flagLists   = 0x40
	flagUnknown = 0x80
)

// A listRef stands for a list that is stored as a chunk of its own.
type listRef struct {
	id      store.ID
	extents int64
	bytes   int64
}

// A record is an entry as a leaf holds it: with its extents, or with what leads
// to them.
type record struct {
	layers.Entry
	level byte // of the lists; 0: the entry holds its extents
	lists []listRef
}

// same reports whether two records are equal, without reading lists.
func (r *record) same(o *record) bool {
	return r.Path == o.Path && r.level == o.level && slices.Equal(r.lists, o.lists) && r.Same(&o.Entry)
}

func appendRecord(b []byte, r *record) ([]byte, error) {
	first := byte(r.Type)
	if r.Type == layers.Dir && r.Opaque {
		first |= flagOpaque
	}
	if r.Type == layers.Regular && r.level > 0 {
		first |= flagLists
	}
	carries := r.Type != layers.Hardlink && r.Type != layers.Whiteout
	if carries && len(r.Xattrs) > 0 {
		first |= flagXattrs
	}
	b = append(b, first)
	if !carries {
		return appendTarget(b, r), checkTarget(r)
	}
	if r.Mode > maxMode {
		return nil, &layers.PathError{Path: r.Path, Reason: fmt.Sprintf("mode %o is not within 0 to 7777", r.Mode)}
	}
	if r.ModTime.Nsec > 999_999_999 {
		return nil, &layers.PathError{Path: r.Path, Reason: "modification time has more than 999,999,999 ns"}
	}
	b = binary.AppendUvarint(b, uint64(r.Mode))
	b = binary.AppendUvarint(b, uint64(r.UID))
	b = binary.AppendUvarint(b, uint64(r.GID))
	b = binary.AppendVarint(b, r.ModTime.Sec)
	b = binary.AppendUvarint(b, uint64(r.ModTime.Nsec))
	if len(r.Xattrs) > 0 {
		var err error
		if b, err = appendXattrs(b, &r.Entry); err != nil {
			return nil, err
		}
	}
	switch r.Type {
	case layers.Regular:
		return appendContent(b, r)
	case layers.Symlink:
		return appendTarget(b, r), checkTarget(r)
	case layers.CharDev, layers.BlockDev:
		b = binary.AppendUvarint(b, uint64(r.Major))
		b = binary.AppendUvarint(b, uint64(r.Minor))
	}
	return b, nil
}

func appendTarget(b []byte, r *record) []byte {
	if r.Type == layers.Whiteout {
		return b
	}
	return appendBytes(b, r.Target)
}

func checkTarget(r *record) error {
	if len(r.Target) > layers.MaxPath || strings.IndexByte(r.Target, 0) >= 0 {
		return &layers.PathError{Path: r.Path, Reason: fmt.Sprintf("target is longer than %d bytes or holds a NUL byte", layers.MaxPath)}
	}
	return nil
}

func appendXattrs(b []byte, e *layers.Entry) ([]byte, error) {
	bad := func(reason string) ([]byte, error) { return nil, &layers.PathError{Path: e.Path, Reason: reason} }
	xs, total := e.Xattrs, 0
	byName := func(a, b layers.Xattr) int { return strings.Compare(a.Name, b.Name) }
	if !slices.IsSortedFunc(xs, byName) {
		xs = slices.SortedFunc(slices.Values(xs), byName)
	}
	b = binary.AppendUvarint(b, uint64(len(xs)))
	for i, x := range xs {
		total += len(x.Name) + len(x.Value)
		switch {
		case x.Name == "" || len(x.Name) > maxXattrName || strings.IndexByte(x.Name, 0) >= 0:
			return bad(fmt.Sprintf("extended attribute %.40q has an impossible name", x.Name))
		case i > 0 && xs[i-1].Name == x.Name:
			return bad(fmt.Sprintf("extended attribute %s is there twice", x.Name))
		case len(x.Value) > maxXattr:
			return bad(fmt.Sprintf("extended attribute %s is longer than %d bytes", x.Name, maxXattr))
		case total > maxXattrs:
			return bad(fmt.Sprintf("extended attributes of more than %d bytes", maxXattrs))
		}
		b = appendBytes(appendBytes(b, x.Name), x.Value)
	}
	return b, nil
}

func appendContent(b []byte, r *record) ([]byte, error) {
	if r.level > 0 {
		b = append(b, r.level)
		b = binary.AppendUvarint(b, uint64(len(r.lists)))
		for _, l := range r.lists {
			b = appendListRef(b, l)
		}
		return b, nil
	}
	b = binary.AppendUvarint(b, uint64(len(r.Extents)))
	for _, x := range r.Extents {
		if err := checkExtent(x); err != nil {
			return nil, &layers.PathError{Path: r.Path, Reason: err.Error()}
		}
		b = appendExtent(b, x)
	}
	return b, nil
}

func checkExtent(x layers.Extent) error {
	limit := int64(store.MaxChunk)
	if x.ID.IsZero() {
		limit = maxLen
	}
	if x.Len <= 0 || x.Len > limit {
		return fmt.Errorf("extent of %d bytes is not within 1 to %d", x.Len, limit)
	}
	return nil
}

func appendExtent(b []byte, x layers.Extent) []byte {
	if x.ID.IsZero() {
		return binary.AppendUvarint(b, uint64(x.Len)<<1|1)
	}
	return append(binary.AppendUvarint(b, uint64(x.Len)<<1), x.ID[:]...)
}

func appendListRef(b []byte, l listRef) []byte {
	b = append(b, l.id[:]...)
	b = binary.AppendUvarint(b, uint64(l.extents))
	return binary.AppendUvarint(b, uint64(l.bytes))
}

// record reads an entry, all but its path.
func (r *reader) record(path string) record {
	rec := record{Entry: layers.Entry{Path: path}}
	first := r.byte()
	rec.Type = layers.Type(first & typeMask)
	rec.Opaque = first&flagOpaque != 0
	plain := rec.Type == layers.Hardlink || rec.Type == layers.Whiteout
	switch {
	case r.err != nil:
	case rec.Type < layers.Regular || rec.Type > layers.Whiteout || first&flagUnknown != 0,
		rec.Opaque && rec.Type != layers.Dir,
		first&flagLists != 0 && rec.Type != layers.Regular,
		first&flagXattrs != 0 && plain:
		r.fail("entry %.200q begins with byte %#x", path, first)
	}
	if !plain {
		rec.Mode = uint16(r.uvarint(maxMode, "mode"))
		rec.UID = uint32(r.uvarint(math.MaxUint32, "owner"))
		rec.GID = uint32(r.uvarint(math.MaxUint32, "group"))
		rec.ModTime.Sec = r.varint("time")
		rec.ModTime.Nsec = uint32(r.uvarint(999_999_999, "nanoseconds"))
	}
	if first&flagXattrs != 0 {
		rec.Xattrs = r.xattrs()
	}
	switch rec.Type {
	case layers.Regular:
		r.content(&rec, first&flagLists != 0)
	case layers.Symlink, layers.Hardlink:
		rec.Target = string(r.bytes(layers.MaxPath, "target"))
		if strings.IndexByte(rec.Target, 0) >= 0 {
			r.fail("target of %.200q holds a NUL byte", path)
		}
	case layers.CharDev, layers.BlockDev:
		rec.Major = uint32(r.uvarint(math.MaxUint32, "device"))
		rec.Minor = uint32(r.uvarint(math.MaxUint32, "device"))
	}
	return rec
}

func (r *reader) xattrs() []layers.Xattr {
	n, total := r.uvarint(maxXattrs, "extended attributes"), 0
	if n == 0 {
		r.fail("no extended attributes where there should be some")
	}
	var xs []layers.Xattr
	for range n {
		name := string(r.bytes(maxXattrName, "name of extended attribute"))
		value := slices.Clone(r.bytes(maxXattr, "extended attribute"))
		total += len(name) + len(value)
		if name == "" || strings.IndexByte(name, 0) >= 0 || total > maxXattrs || len(xs) > 0 && xs[len(xs)-1].Name >= name {
			r.fail("extended attribute %.40q", name)
		}
		if r.err != nil {
			return nil
		}
		xs = append(xs, layers.Xattr{Name: name, Value: value})
	}
	return xs
}

// content reads the extents of a regular file, or what leads to them, and sets
// its size.
func (r *reader) content(rec *record, lists bool) {
	if !lists {
		rec.Extents, rec.Size = r.extents(maxInline)
		return
	}
	if rec.level = r.byte(); rec.level == 0 && r.err == nil {
		r.fail("lists of level 0")
	}
	var extents int64
	rec.lists, extents, rec.Size = r.listRefs(maxInline)
	if r.err == nil && extents <= maxInline {
		r.fail("lists of %d extents", extents)
	}
}

func (r *reader) extents(limit uint64) (xs []layers.Extent, size int64) {
	n := r.uvarint(limit, "extents")
	if r.err == nil && n > 0 {
		xs = make([]layers.Extent, 0, n)
	}
	for range n {
		v := r.uvarint(math.MaxUint64, "extent")
		x := layers.Extent{Len: int64(v >> 1)}
		if v&1 == 0 {
			if x.ID = r.id(); x.ID.IsZero() {
				r.fail("extent of no chunk")
			}
		}
		if r.err == nil {
			if err := checkExtent(x); err != nil {
				r.fail("%v", err)
			}
		}
		if size += x.Len; r.err == nil && size < 0 {
			r.fail("file is too large")
		}
		if r.err != nil {
			return nil, 0
		}
		xs = append(xs, x)
	}
	return xs, size
}

func (r *reader) listRefs(limit uint64) (refs []listRef, extents, size int64) {
	for range r.uvarint(limit, "lists") {
		l := listRef{id: r.id()}
		l.extents = int64(r.uvarint(maxExtents, "extents"))
		l.bytes = int64(r.uvarint(math.MaxInt64, "bytes"))
		extents += l.extents
		if size += l.bytes; r.err == nil && (size < 0 || extents > maxExtents || l.id.IsZero()) {
			r.fail("file is too large")
		}
		if r.err != nil {
			return nil, 0, 0
		}
		refs = append(refs, l)
	}
	return refs, extents, size
}
