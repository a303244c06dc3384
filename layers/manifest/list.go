package manifest

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"

	"satchel/layers"
	"satchel/store"
)

// Where lists are cut: after an extent or reference whose ID ends a list, but
// not before minList items and at maxList at the latest. The mask asks for one
// ID in 256.
const (
	minList      = 64
	maxList      = 1024
	listMask     = 1<<8 - 1
	maxListLevel = 16
)

// Limits of what is read, against lists that refer to the same list over and
// over to seem larger than the store that holds them.
const (
	maxExtents     = 1 << 25 // of one file: 2 TiB of chunks of 64 KiB
	maxTreeExtents = 1 << 26 // of all files of one tree
)

// endsList reports whether a list is cut after the chunk of that ID. IDs are
// hashes, so any bits do; the store's own structures use the first ones.
func endsList(id store.ID) bool {
	return binary.LittleEndian.Uint16(id[30:])&listMask == 0 && !id.IsZero()
}

// cut calls emit with the bounds of one list after another.
func cut(n int, id func(i int) store.ID, emit func(lo, hi int) error) error {
	for lo, i := 0, 0; i < n; i++ {
		size := i + 1 - lo
		if i == n-1 || size == maxList || size >= minList && endsList(id(i)) {
			if err := emit(lo, i+1); err != nil {
				return err
			}
			lo = i + 1
		}
	}
	return nil
}

// writeLists stores extents as lists, and lists of lists, until few enough
// references are left to keep in an entry.
func writeLists(ctx context.Context, p store.Putter, xs []layers.Extent) (refs []listRef, level byte, err error) {
	if len(xs) > maxExtents {
		return nil, 0, fmt.Errorf("%d extents are more than %d", len(xs), maxExtents)
	}
	put := func(b []byte, l listRef) error {
		ids, err := p.Put(ctx, b)
		if err != nil {
			return fmt.Errorf("write list of extents: %w", err)
		}
		l.id = ids[0]
		refs = append(refs, l)
		return nil
	}
	err = cut(len(xs), func(i int) store.ID { return xs[i].ID }, func(lo, hi int) error {
		l := listRef{extents: int64(hi - lo)}
		b := listHeader(0, hi-lo)
		for _, x := range xs[lo:hi] {
			if err := checkExtent(x); err != nil {
				return err
			}
			l.bytes += x.Len
			b = appendExtent(b, x)
		}
		return put(b, l)
	})
	for level = 1; err == nil && len(refs) > maxInline; level++ {
		below := refs
		refs = nil
		err = cut(len(below), func(i int) store.ID { return below[i].id }, func(lo, hi int) error {
			var l listRef
			b := listHeader(level, hi-lo)
			for _, r := range below[lo:hi] {
				l.extents += r.extents
				l.bytes += r.bytes
				b = appendListRef(b, r)
			}
			return put(b, l)
		})
	}
	return refs, level, err
}

func listHeader(level byte, n int) []byte {
	return binary.AppendUvarint(append(appendHeader(nil, kindList), level), uint64(n))
}

// A list is a decoded list chunk: extents at level 0, references above.
type list struct {
	extents []layers.Extent
	refs    []listRef
}

// parseList reads a list and counts what it leads to.
func parseList(b []byte, level byte) (l list, extents, size int64, err error) {
	r := newReader(b, kindList)
	if have := r.byte(); r.err == nil && have != level {
		r.fail("list of level %d, want %d", have, level)
	}
	if level == 0 {
		l.extents, size = r.extents(maxList)
		extents = int64(len(l.extents))
	} else {
		l.refs, extents, size = r.listRefs(maxList)
	}
	return l, extents, size, r.end()
}

// decodeList reads the list that ref stands for and checks it against that.
func decodeList(b []byte, level byte, ref listRef) (list, error) {
	l, extents, size, err := parseList(b, level)
	if err != nil {
		return list{}, err
	}
	if extents != ref.extents || size != ref.bytes || extents == 0 {
		return list{}, corrupt("list of %d extents and %d bytes, want %d and %d", extents, size, ref.extents, ref.bytes)
	}
	return l, nil
}

func readList(ctx context.Context, g store.Getter, level byte, ref listRef) (list, error) {
	b, err := g.Get(ctx, ref.id)
	if err == nil {
		var l list
		if l, err = decodeList(b, level, ref); err == nil {
			return l, nil
		}
	}
	return list{}, fmt.Errorf("read list of extents %s: %w", ref.id.Short(), err)
}

// resolve replaces a record's lists by the extents they hold, of which there
// may be no more than *budget, and takes those off it.
func (r *record) resolve(ctx context.Context, g store.Getter, budget *int64) error {
	if r.level == 0 {
		return nil
	}
	if r.level > maxListLevel {
		return corrupt("path %.200q: lists of level %d", r.Path, r.level)
	}
	var n int64
	for _, l := range r.lists {
		n += l.extents
	}
	if *budget -= n; *budget < 0 {
		return corrupt("path %.200q: tree of more than %d extents", r.Path, maxTreeExtents)
	}
	r.Extents = make([]layers.Extent, 0, min(n, math.MaxUint16))
	for _, l := range r.lists {
		if err := r.collect(ctx, g, r.level-1, l); err != nil {
			return fmt.Errorf("path %.200q: %w", r.Path, err)
		}
	}
	r.level, r.lists = 0, nil
	return nil
}

func (r *record) collect(ctx context.Context, g store.Getter, level byte, ref listRef) error {
	l, err := readList(ctx, g, level, ref)
	if err != nil {
		return err
	}
	r.Extents = append(r.Extents, l.extents...)
	for _, below := range l.refs {
		if err := r.collect(ctx, g, level-1, below); err != nil {
			return err
		}
	}
	return nil
}
