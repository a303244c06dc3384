package disk

import (
	"slices"
	"sync"

	"satchel/store"
	"satchel/store/pack"
)

// batchTarget is how many plaintext bytes a writer gathers before it asks the
// index which of them are new.
const batchTarget = 2 << 20

// gathering is chunks on their way into frames.
type gathering struct {
	data   []byte       // the chunks, one after the other
	chunks []pack.Chunk // never used again: packs keep parts of it
	dense  bool         // compression would not make them smaller
}

// gatherings and buffers spare the memory of chunks, and of frames as they are
// on disk.
var (
	gatherings = sync.Pool{New: func() any { return new([]byte) }}
	buffers    = sync.Pool{New: func() any { return new([]byte) }}
)

func newGathering() *gathering {
	return &gathering{data: (*gatherings.Get().(*[]byte))[:0]}
}

// sort numbers the two sorts of chunks, which share no frame.
func (g *gathering) sort() int {
	if g.dense {
		return 1
	}
	return 0
}

// another returns an empty gathering of the same sort.
func (g *gathering) another() *gathering {
	n := newGathering()
	n.dense = g.dense
	return n
}

// recycle keeps the memory of a gathering's data, of which nothing may be in
// use any more.
func recycle(data []byte) { gatherings.Put(&data) }

func (g *gathering) add(id store.ID, data []byte) {
	g.data = append(g.data, data...)
	g.chunks = append(g.chunks, pack.Chunk{ID: id, Len: len(data)})
}

// holds reports whether there are so many bytes, or as many chunks as fit into
// a frame.
func (g *gathering) holds(size int) bool {
	return len(g.data) >= size || len(g.chunks) >= pack.MaxFrameChunks
}

// enough reports whether there is enough for a frame.
func (g *gathering) enough() bool {
	if g.dense {
		return g.holds(pack.DenseTarget)
	}
	return g.holds(pack.FrameTarget)
}

// divide takes the dense chunks out and returns them, or nil if there are none.
func (g *gathering) divide() (dense *gathering) {
	taken, from := make([]bool, len(g.chunks)), 0
	for i, c := range g.chunks {
		data := g.data[from : from+c.Len]
		from += c.Len
		if taken[i] = pack.Dense(data); !taken[i] {
			continue
		}
		if dense == nil {
			dense = newGathering()
			dense.dense = true
		}
		dense.add(c.ID, data)
	}
	g.drop(taken)
	return dense
}

// drop removes the chunks that are marked.
func (g *gathering) drop(marked []bool) {
	if !slices.Contains(marked, true) {
		return
	}
	data, chunks, from := g.data[:0], g.chunks[:0], 0
	for i, c := range g.chunks {
		if !marked[i] {
			data = append(data, g.data[from:from+c.Len]...)
			chunks = append(chunks, c)
		}
		from += c.Len
	}
	g.data, g.chunks = data, chunks
}

// cut takes the chunks of one frame from the front.
func (g *gathering) cut() *gathering {
	f := &gathering{dense: g.dense}
	n, size := 0, 0
	for !f.enough() && n < len(g.chunks) {
		size += g.chunks[n].Len
		n++
		f.data, f.chunks = g.data[:size:size], g.chunks[:n:n]
	}
	g.data, g.chunks = g.data[size:], g.chunks[n:]
	return f
}

// encode appends the frame of all the chunks to dst.
func (g *gathering) encode(dst []byte) []byte {
	lens := g.lens()
	if g.dense {
		return pack.AppendRawFrame(dst, g.data, lens)
	}
	return pack.AppendFrame(dst, g.data, lens)
}

// lens returns the lengths of the chunks.
func (g *gathering) lens() []int {
	lens := make([]int, len(g.chunks))
	for i, c := range g.chunks {
		lens[i] = c.Len
	}
	return lens
}

func idsOf(chunks []pack.Chunk) []store.ID {
	ids := make([]store.ID, len(chunks))
	for i, c := range chunks {
		ids[i] = c.ID
	}
	return ids
}
