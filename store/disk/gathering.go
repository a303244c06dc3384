package disk

import (
	"sync"

	"satchel/store"
	"satchel/store/pack"
)

// gathering is a frame that is being filled.
type gathering struct {
	data   []byte
	chunks []pack.Chunk
}

// gatherings and buffers spare the memory of frames and of their bytes on
// disk.
var (
	gatherings = sync.Pool{New: func() any { return &gathering{} }}
	buffers    = sync.Pool{New: func() any { return new([]byte) }}
)

func (g *gathering) add(id store.ID, data []byte) {
	g.data = append(g.data, data...)
	g.chunks = append(g.chunks, pack.Chunk{ID: id, Len: len(data)})
}

func (g *gathering) full() bool {
	return len(g.data) >= pack.FrameTarget || len(g.chunks) == pack.MaxFrameChunks
}

// encode appends the frame to dst.
func (g *gathering) encode(dst []byte) []byte {
	lens := make([]int, len(g.chunks))
	for i, c := range g.chunks {
		lens[i] = c.Len
	}
	return pack.AppendFrame(dst, g.data, lens)
}
