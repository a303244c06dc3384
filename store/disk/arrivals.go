package disk

import (
	"context"
	"fmt"
	"slices"

	"satchel/store"
	"satchel/store/pack"
)

// Of frames that arrive ready, a writer gathers this much before it asks the
// index which of their chunks are new.
const (
	arrivalBytes  = 512 << 10 // bytes on disk
	arrivalChunks = 1024
)

// arrivals is frames as another store sent them, on their way into a pack.
type arrivals struct {
	data   []byte       // the frames, one after the other
	lens   []int        // bytes of each frame
	counts []int        // chunks of each frame
	chunks []pack.Chunk // of all frames; never used again: packs keep parts of it
}

func newArrivals() *arrivals {
	return &arrivals{data: (*gatherings.Get().(*[]byte))[:0]}
}

func (a *arrivals) add(frame []byte, chunks []pack.Chunk) {
	a.data = append(a.data, frame...)
	a.lens = append(a.lens, len(frame))
	a.counts = append(a.counts, len(chunks))
	a.chunks = append(a.chunks, chunks...)
}

func (a *arrivals) full() bool {
	return len(a.data) >= arrivalBytes || len(a.chunks) >= arrivalChunks
}

// PutFrame stages the chunks of a pack frame and returns their IDs.
func (w *writer) PutFrame(ctx context.Context, frame []byte) ([]store.ID, error) {
	w.gate.RLock()
	defer w.gate.RUnlock()
	if err := w.refuse(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	buf := (*gatherings.Get().(*[]byte))[:0]
	content, err := pack.DecodeFrame(frame, buf)
	if err == nil {
		err = content.Damage
	}
	if err != nil {
		recycle(buf)
		return nil, fmt.Errorf("put frame: %w", err)
	}
	defer recycle(content.Data)
	chunks := w.store.name(content)
	if err := w.stageFrame(ctx, frame, content.Data, chunks); err != nil {
		return nil, w.fail(err)
	}
	return idsOf(chunks), nil
}

// name returns the chunks of a frame, named by their hashes.
func (s *Store) name(c pack.Content) []pack.Chunk {
	chunks := make([]pack.Chunk, len(c.Lens))
	rest := c.Data
	for i, n := range c.Lens {
		chunks[i] = pack.Chunk{ID: s.config.Domain.ID(rest[:n]), Len: n}
		rest = rest[n:]
	}
	return chunks
}

// stageFrame keeps the frame as it is when none of its chunks is pending, and
// otherwise stages those that are not, as Put does.
func (w *writer) stageFrame(ctx context.Context, frame, data []byte, chunks []pack.Chunk) error {
	whole, full := w.welcome(frame, chunks)
	if full != nil {
		return w.admit(ctx, full)
	}
	if whole {
		return nil
	}
	parts := make([][]byte, len(chunks))
	for i, c := range chunks {
		parts[i], data = data[:c.Len], data[c.Len:]
	}
	return w.stage(ctx, idsOf(chunks), parts)
}

// welcome adds a frame to those that are ready, if none of its chunks is
// pending and no two are equal, and hands these over when they are enough.
func (w *writer) welcome(frame []byte, chunks []pack.Chunk) (whole bool, full *arrivals) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, c := range chunks {
		if _, ok := w.pending[c.ID]; ok {
			for _, c := range chunks[:i] {
				delete(w.pending, c.ID)
			}
			return false, nil
		}
		w.pending[c.ID] = struct{}{}
	}
	for _, c := range chunks {
		w.stats.Chunks++
		w.stats.Bytes += int64(c.Len)
	}
	w.ready.add(frame, chunks)
	if w.ready.full() {
		full, w.ready = w.ready, newArrivals()
	}
	return true, full
}

// admit looks up the chunks of ready frames. It appends the frames of which
// all are new, and the new chunks of the others in other frames.
func (w *writer) admit(ctx context.Context, a *arrivals) error {
	defer recycle(a.data)
	present, err := w.store.index.Present(ctx, idsOf(a.chunks))
	if err != nil {
		return err
	}
	w.count(a.chunks, present)
	data, chunks := a.data, a.chunks
	for i, n := range a.lens {
		k := a.counts[i]
		if err := w.admitFrame(ctx, data[:n], chunks[:k:k], present[:k]); err != nil {
			return err
		}
		data, chunks, present = data[n:], chunks[k:], present[k:]
	}
	return nil
}

func (w *writer) admitFrame(ctx context.Context, frame []byte, chunks []pack.Chunk, present []bool) error {
	switch {
	case !slices.Contains(present, true):
		return w.add(ctx, frame, chunks)
	case !slices.Contains(present, false):
		return nil
	}
	content, err := pack.DecodeFrame(frame, newGathering().data)
	if err != nil {
		return err
	}
	g := &gathering{data: content.Data, chunks: chunks}
	defer recycle(content.Data)
	g.drop(present)
	return w.arrange(ctx, g)
}

// hasBatch is how many chunks are looked up in one transaction.
const hasBatch = 1 << 12

// Has answers for each ID in turn whether the chunk is there.
func (w *writer) Has(ctx context.Context, ids []store.ID) ([]bool, error) {
	w.gate.RLock()
	defer w.gate.RUnlock()
	if err := w.refuse(); err != nil {
		return nil, err
	}
	has := make([]bool, 0, len(ids))
	for batch := range slices.Chunk(ids, hasBatch) {
		present, err := w.has(ctx, batch)
		if err != nil {
			return nil, w.fail(err)
		}
		has = append(has, present...)
	}
	return has, nil
}

// has looks among the staged chunks first: one that leaves them in the
// meantime is in the index then.
func (w *writer) has(ctx context.Context, ids []store.ID) ([]bool, error) {
	has := make([]bool, len(ids))
	var asked []store.ID
	var places []int
	w.mu.Lock()
	for i, id := range ids {
		if _, has[i] = w.pending[id]; !has[i] {
			asked = append(asked, id)
			places = append(places, i)
		}
	}
	w.mu.Unlock()
	present, err := w.store.index.Present(ctx, asked)
	if err != nil {
		return nil, err
	}
	for j, i := range places {
		has[i] = present[j]
	}
	return has, nil
}
