package ingest

import (
	"fmt"
	"sync"

	"satchel/layers"
	"satchel/store"
)

// A file is being stored: its entry and the extents found so far.
type file struct {
	entry *layers.Entry
	size  int64 // owned by the cutter
	image bool  // it is a disk image

	mu      sync.Mutex // guards what follows
	extents []layers.Extent
	hollow  bool // the last extent is a hole
	pending int  // extents without ID, and one more while the cutter is at work
}

func newFile(e *layers.Entry) *file { return &file{entry: e, pending: 1} }

// extend adds an extent, that waits for an ID or is a hole, and returns its
// place. Holes that meet become one.
func (f *file) extend(n int64, waits bool) int {
	f.size += n
	f.mu.Lock()
	defer f.mu.Unlock()
	if last := len(f.extents) - 1; f.hollow && !waits {
		f.extents[last].Len += n
		return last
	}
	f.hollow = !waits
	f.extents = append(f.extents, layers.Extent{Len: n})
	if waits {
		f.pending++
	}
	return len(f.extents) - 1
}

// keep adds an extent that is in the store already, or a hole.
func (f *file) keep(x layers.Extent) {
	if x.ID.IsZero() {
		f.extend(x.Len, false)
		return
	}
	f.size += x.Len
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hollow = false
	f.extents = append(f.extents, x)
}

// identify gives an extent its ID.
func (f *file) identify(at int, id store.ID) {
	f.mu.Lock()
	f.extents[at].ID = id
	f.mu.Unlock()
	f.release()
}

// release ends one reason to wait. After the last one the entry has its extents.
func (f *file) release() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.pending--; f.pending == 0 {
		f.entry.Extents = f.extents
	}
}

// A batch is a run of chunks that go to the store together.
type batch struct {
	buf    []byte
	pieces []piece
}

// A piece is one chunk of a batch.
type piece struct {
	file *file
	at   int // place of its extent
	end  int // of the chunk in the batch's buffer
}

func (b *batch) add(f *file, chunk []byte) {
	b.buf = append(b.buf, chunk...)
	b.pieces = append(b.pieces, piece{f, f.extend(int64(len(chunk)), true), len(b.buf)})
}

// store puts a batch and gives it back.
func (p *Pipeline) store(b *batch) {
	if !p.failed.Load() {
		if err := p.putBatch(b); err != nil {
			_ = p.fail(fmt.Errorf("store contents: %w", err))
		}
	}
	clear(b.pieces) // let go of the files
	b.buf, b.pieces = b.buf[:0], b.pieces[:0]
	p.batches <- b
}

func (p *Pipeline) putBatch(b *batch) error {
	data := make([][]byte, len(b.pieces))
	start := 0
	for i, x := range b.pieces {
		data[i], start = b.buf[start:x.end], x.end
	}
	ids, err := p.put.Put(p.ctx, data...)
	if err != nil {
		return err
	}
	for i, x := range b.pieces {
		x.file.identify(x.at, ids[i])
	}
	return nil
}
