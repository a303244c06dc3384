package bolt

import (
	"bytes"
	"fmt"
	"slices"

	"satchel/store"
)

// A Tree is a bucket of a snapshot. It keeps the pages from its root to the
// key that it was last asked for, so keys that are asked for in order cost
// little more than their leaves. It is for one goroutine.
type Tree struct {
	snapshot *Snapshot
	root     uint64
	path     []page
}

// Limits of what is read, so that damage cannot make it much.
const (
	maxDepth    = 32
	maxOverflow = 1 << 8 // pages that a page goes on for
)

var errTooDeep = fmt.Errorf("%w: a tree is deeper than %d pages", store.ErrCorrupt, maxDepth)

// Get returns the value of a key, or nil if it has none. The value is valid
// until the next call.
func (t *Tree) Get(key []byte) ([]byte, error) {
	v, isBucket, err := t.find(key)
	if isBucket {
		v = nil
	}
	return v, err
}

func (t *Tree) find(key []byte) (v []byte, isBucket bool, err error) {
	id := t.root
	for depth := range maxDepth {
		p, err := t.page(depth, id)
		if err != nil {
			return nil, false, err
		}
		i, exact, err := p.search(key)
		if err != nil {
			return nil, false, err
		}
		if p.isLeaf() {
			if !exact {
				return nil, false, nil
			}
			return p.value(i)
		}
		if !exact && i > 0 {
			i--
		}
		id = p.child(i)
	}
	return nil, false, errTooDeep
}

// Each calls fn for the keys from start on, in order, until it returns false.
// What it hands out is valid until fn returns, and fn must not use the tree.
func (t *Tree) Each(start []byte, fn func(key, value []byte) (more bool, err error)) error {
	var last []byte
	_, err := t.each(0, t.root, start, func(k, v []byte) (bool, error) {
		// Damage must not send the caller round in circles.
		if last != nil && bytes.Compare(k, last) <= 0 {
			return false, fmt.Errorf("%w: keys are out of order", store.ErrCorrupt)
		}
		last = append(last[:0], k...)
		return fn(k, v)
	})
	return err
}

func (t *Tree) each(depth int, id uint64, start []byte, fn func(key, value []byte) (bool, error)) (more bool, err error) {
	if depth == maxDepth || slices.ContainsFunc(t.path[:depth], func(p page) bool { return p.id() == id }) {
		return false, errTooDeep
	}
	p, err := t.page(depth, id)
	if err != nil {
		return false, err
	}
	i, exact, err := p.search(start)
	if err != nil {
		return false, err
	}
	if !p.isLeaf() && !exact && i > 0 {
		i--
	}
	for more = true; more && i < p.count(); i++ {
		if p.isLeaf() {
			more, err = p.visit(i, fn)
		} else {
			more, err = t.each(depth+1, p.child(i), start, fn)
		}
		if err != nil {
			return false, err
		}
	}
	return more, nil
}

// page returns the page at a depth of the path.
func (t *Tree) page(depth int, id uint64) (page, error) {
	if depth < len(t.path) && len(t.path[depth]) > 0 && t.path[depth].id() == id {
		return t.path[depth], nil
	}
	if depth == len(t.path) {
		t.path = append(t.path, nil)
	}
	p := t.path[depth]
	t.path[depth] = p[:0]
	p, err := t.snapshot.page(id, p)
	if err == nil {
		t.path[depth] = p
	}
	return p, err
}

// page reads a page into buf.
func (s *Snapshot) page(id uint64, buf page) (page, error) {
	if id < 2 || id >= s.pages {
		return nil, fmt.Errorf("%w: page %d: have %d", store.ErrCorrupt, id, s.pages)
	}
	p := slices.Grow(buf[:0], s.pageSize)[:s.pageSize]
	offset := int64(id) * int64(s.pageSize)
	if _, err := s.file.ReadAt(p, offset); err != nil {
		return nil, fmt.Errorf("page %d: %w", id, err)
	}
	if more := p.overflow(); more > 0 {
		if more > maxOverflow || id+more >= s.pages {
			return nil, fmt.Errorf("%w: page %d goes on for %d pages", store.ErrCorrupt, id, more)
		}
		n := len(p)
		p = append(p, make([]byte, int(more)*s.pageSize)...)
		if _, err := s.file.ReadAt(p[n:], offset+int64(n)); err != nil {
			return nil, fmt.Errorf("page %d: %w", id, err)
		}
	}
	return p, p.check(id)
}

// A page is a page as it is stored. Its elements come in the order of their
// keys; each says how far from itself its key begins. One of a branch is that
// (4 bytes), bytes of the key (4) and number of the page below (8); one of a
// leaf is flags (4), where the key begins (4), its bytes (4) and those of the
// value behind it (4).
type page []byte

const (
	elementSize = 16

	branchFlag = 1
	leafFlag   = 2
	bucketFlag = 1 // of an element of a leaf
)

func (p page) id() uint64       { return ne.Uint64(p) }
func (p page) flags() uint16    { return ne.Uint16(p[8:]) }
func (p page) count() int       { return int(ne.Uint16(p[10:])) }
func (p page) overflow() uint64 { return uint64(ne.Uint32(p[12:])) }
func (p page) isLeaf() bool     { return p.flags() == leafFlag }

// check reports a page that is not the one that was asked for, or has no place
// for its elements.
func (p page) check(id uint64) error {
	if len(p) < pageHeader || p.id() != id || p.flags() != leafFlag && p.flags() != branchFlag ||
		pageHeader+elementSize*p.count() > len(p) || p.count() == 0 && !p.isLeaf() {
		return fmt.Errorf("%w: page %d is not what it should be", store.ErrCorrupt, id)
	}
	return nil
}

// span returns n bytes that begin a distance behind the element.
func (p page) span(i int, distance, n uint64) ([]byte, error) {
	from := uint64(pageHeader+elementSize*i) + distance
	if from+n > uint64(len(p)) {
		return nil, fmt.Errorf("%w: page %d: element %d lies outside", store.ErrCorrupt, p.id(), i)
	}
	return p[from : from+n], nil
}

func (p page) element(i int) []byte { return p[pageHeader+elementSize*i:][:elementSize] }

func (p page) key(i int) ([]byte, error) {
	e := p.element(i)
	if p.isLeaf() {
		e = e[4:]
	}
	return p.span(i, uint64(ne.Uint32(e)), uint64(ne.Uint32(e[4:])))
}

func (p page) value(i int) (v []byte, isBucket bool, err error) {
	e := p.element(i)
	v, err = p.span(i, uint64(ne.Uint32(e[4:]))+uint64(ne.Uint32(e[8:])), uint64(ne.Uint32(e[12:])))
	return v, ne.Uint32(e)&bucketFlag != 0, err
}

func (p page) visit(i int, fn func(key, value []byte) (bool, error)) (more bool, err error) {
	k, err := p.key(i)
	if err != nil {
		return false, err
	}
	v, isBucket, err := p.value(i)
	if err != nil || isBucket {
		return true, err
	}
	return fn(k, v)
}

func (p page) child(i int) uint64 { return ne.Uint64(p.element(i)[8:]) }

// search returns the place of the first key that is not less, and whether it
// is equal.
func (p page) search(key []byte) (i int, exact bool, err error) {
	low, high := 0, p.count()
	for low < high {
		mid := int(uint(low+high) / 2)
		k, err := p.key(mid)
		if err != nil {
			return 0, false, err
		}
		switch c := bytes.Compare(k, key); {
		case c == 0:
			return mid, true, nil
		case c < 0:
			low = mid + 1
		default:
			high = mid
		}
	}
	return low, false, nil
}
