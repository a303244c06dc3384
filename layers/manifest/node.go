package manifest

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"

	"satchel/layers"
	"satchel/store"
)

// Where nodes are cut: after an item whose path ends a node, but not before
// minNode items, at maxNode at the latest, and before an item that would make
// the node weigh more than maxWeight. The mask asks for one path in 128.
const (
	minNode   = 32
	maxNode   = 1024
	nodeMask  = 1<<7 - 1
	maxWeight = 256 << 10 // bytes, counted with whole paths
	maxLevel  = 32
)

// minRecord is the fewest bytes that an item of a leaf takes: one each for what
// its path shares, for the length of the rest, and for the type of a whiteout.
const minRecord = 3

// endsNode reports whether a node of that level is cut after path. It hashes
// with FNV-1a, http://www.isthe.com/chongo/tech/comp/fnv/, starting from the
// level, and mixes the result with the finaliser of MurmurHash3, whose low bits
// are good: an attribute that changes moves no cut, and levels cut differently.
func endsNode(level byte, path string) bool {
	h := uint64(14695981039346656037)
	h = (h ^ uint64(level)) * 1099511628211
	for i := range len(path) {
		h = (h ^ uint64(path[i])) * 1099511628211
	}
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return (h^h>>33)&nodeMask == 0
}

// A child stands for a node in the one above it.
type child struct {
	first   string // path
	id      store.ID
	entries int64
}

// A node is a decoded node: records at level 0, children above.
type node struct {
	level    byte
	records  []record
	children []child
}

// first is the first path that the node holds.
func (n *node) first() string {
	if n.level == 0 {
		return n.records[0].Path
	}
	return n.children[0].first
}

// last is the last path that the node itself names.
func (n *node) last() string {
	if n.level == 0 {
		return n.records[len(n.records)-1].Path
	}
	return n.children[len(n.children)-1].first
}

// A nodeWriter cuts the items of one level into nodes and stores them.
type nodeWriter struct {
	ctx   context.Context
	put   store.Putter
	level byte

	items   []byte // of the open node, encoded
	count   int
	weight  int
	last    string
	open    child
	pending [][]byte // nodes not yet put
	nodes   []child  // all nodes; those of pending have no ID yet
}

// putBatch is how many nodes go to the store at once.
const putBatch = 64

// add appends an item: its path, what follows the path, and how many entries
// it stands for.
func (w *nodeWriter) add(path string, body []byte, entries int64) error {
	weight := len(path) + len(body)
	if w.count > 0 && w.weight+weight > maxWeight {
		if err := w.cut(); err != nil {
			return err
		}
	}
	w.weight += weight
	w.append(path, body, entries)
	if w.count == maxNode || w.count >= minNode && endsNode(w.level, path) {
		return w.cut()
	}
	return nil
}

// append puts an item into the open node.
func (w *nodeWriter) append(path string, body []byte, entries int64) {
	if w.count == 0 {
		w.open, w.last = child{first: path}, ""
	}
	shared := sharedPrefix(w.last, path)
	w.items = binary.AppendUvarint(w.items, uint64(shared))
	w.items = appendBytes(w.items, path[shared:])
	w.items = append(w.items, body...)
	w.last = path
	w.count++
	w.open.entries += entries
}

// encode returns the open node as a chunk.
func (w *nodeWriter) encode() []byte {
	b := append(appendHeader(make([]byte, 0, len(w.items)+headerLen+8), kindNode), w.level)
	b = binary.AppendUvarint(b, uint64(w.count))
	return append(b, w.items...)
}

// cut ends the open node.
func (w *nodeWriter) cut() error {
	if w.count == 0 {
		return nil
	}
	w.pending = append(w.pending, w.encode())
	w.nodes = append(w.nodes, w.open)
	w.items, w.count, w.weight = w.items[:0], 0, 0
	if len(w.pending) == putBatch {
		return w.flush()
	}
	return nil
}

// flush puts the pending nodes and fills in their IDs.
func (w *nodeWriter) flush() error {
	if len(w.pending) == 0 {
		return nil
	}
	ids, err := w.put.Put(w.ctx, w.pending...)
	if err != nil {
		return fmt.Errorf("write nodes: %w", err)
	}
	at := w.nodes[len(w.nodes)-len(w.pending):]
	for i, id := range ids {
		at[i].id = id
	}
	w.pending = w.pending[:0]
	return nil
}

// end ends the level and returns its nodes.
func (w *nodeWriter) end() ([]child, error) {
	if err := w.cut(); err != nil {
		return nil, err
	}
	return w.nodes, w.flush()
}

// appendChild encodes a child, all but its path.
func appendChild(b []byte, c child) []byte {
	return binary.AppendUvarint(append(b, c.id[:]...), uint64(c.entries))
}

func sharedPrefix(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// decodeNode reads a node.
func decodeNode(b []byte) (*node, error) {
	r := newReader(b, kindNode)
	n := &node{level: r.byte()}
	if n.level > maxLevel {
		r.fail("node of level %d", n.level)
	}
	count := r.uvarint(maxNode, "items")
	if count == 0 {
		r.fail("node of no items")
	}
	if n.level == 0 {
		n.records = make([]record, 0, min(int(count), len(r.b)/minRecord+1))
	} else {
		n.children = make([]child, 0, min(int(count), len(r.b)/len(store.ID{})+1))
	}
	var last string
	var weight int
	for i := range count {
		path := r.path(last)
		if weight += len(path); weight > store.MaxChunk {
			r.fail("paths of more than %d bytes", store.MaxChunk)
		}
		if r.err == nil && i > 0 && layers.ComparePaths(last, path) >= 0 {
			r.fail("path %.200q is out of order", path)
		}
		if n.level == 0 {
			n.records = append(n.records, r.record(path))
		} else {
			n.children = append(n.children, child{path, r.id(), int64(r.uvarint(math.MaxInt64, "entries"))})
		}
		if r.err != nil {
			return nil, r.err
		}
		last = path
	}
	if err := r.end(); err != nil {
		return nil, err
	}
	return n, nil
}

// path reads a path that follows last in a node.
func (r *reader) path(last string) string {
	shared := int(r.uvarint(uint64(len(last)), "shared part of path"))
	rest := r.bytes(layers.MaxPath, "path")
	if r.err != nil {
		return ""
	}
	path := last[:shared] + string(rest)
	if sharedPrefix(last, path) != shared {
		r.fail("path %.200q shares more than %d bytes with the one before", path, shared)
	}
	if err := layers.CheckPath(path); err != nil {
		r.fail("%v", err)
	}
	return path
}

// readNode reads the node that c stands for, at that level or at any when level
// is negative, and checks it against c.
func readNode(ctx context.Context, g store.Getter, c child, level int) (*node, error) {
	b, err := g.Get(ctx, c.id)
	if err == nil {
		var n *node
		if n, err = decodeNode(b); err == nil {
			if err = n.check(c, level); err == nil {
				return n, nil
			}
		}
	}
	return nil, fmt.Errorf("read node %s: %w", c.id.Short(), err)
}

func (n *node) check(c child, level int) error {
	entries := int64(len(n.records))
	for _, below := range n.children {
		if entries += below.entries; entries < 0 || below.entries < 1 {
			return corrupt("node counts entries wrongly")
		}
	}
	switch {
	case level >= 0 && int(n.level) != level:
		return corrupt("node of level %d, want %d", n.level, level)
	case level >= 0 && n.first() != c.first:
		return corrupt("node begins with path %.200q, want %.200q", n.first(), c.first)
	case entries != c.entries:
		return corrupt("node of %d entries, want %d", entries, c.entries)
	}
	return nil
}
