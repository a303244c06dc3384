package disk

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"satchel/store"
	"satchel/store/heads"
	"satchel/store/pack"
)

// writer is the store's [store.Writer].
//
// Put only hashes and copies. The caller whose chunks fill the batch asks the
// index which of it are new, compresses those into frames and appends them to
// the open pack; the caller that fills the pack seals it. So as many cores
// work as there are callers, the index is asked in batches however small the
// puts are, and memory is bounded by the number of callers. Frames that come
// ready are looked up in batches in the same way, and appended as they are.
type writer struct {
	store *Store
	lease *heads.Held

	// gate is held shared by each Put from start to end, and alone by Flush
	// and Close, which thereby find nothing half done.
	gate   sync.RWMutex
	closed bool // guarded by gate

	mu      sync.Mutex
	err     error // the first error; nothing works after it
	stats   store.WriteStats
	pending map[store.ID]struct{} // put, but not yet found in the index or named by it
	batch   *gathering            // not yet looked up
	ready   *arrivals             // frames, not yet looked up
	rest    [2]*gathering         // new, but too little for a frame so far; by sort
	pack    *packing
	packs   int // begun so far
}

var errClosed = errors.New("writer is closed")

// Begin takes a writer's lease. The purpose tells people what the process does.
//
// Begin before reading what the new chunks will refer to: what was present
// then, or is reported present later, stays until the writer closes.
func (s *Store) Begin(ctx context.Context, purpose string) (store.Writer, error) {
	lease, err := s.heads.Lease(ctx, purpose, true)
	if err != nil {
		return nil, err
	}
	return &writer{
		store: s, lease: lease, pending: map[store.ID]struct{}{},
		batch: &gathering{}, ready: &arrivals{}, rest: [2]*gathering{{}, {dense: true}},
	}, nil
}

// Put stages chunks and returns their IDs.
func (w *writer) Put(ctx context.Context, data ...[]byte) ([]store.ID, error) {
	w.gate.RLock()
	defer w.gate.RUnlock()
	if err := w.refuse(); err != nil {
		return nil, err
	}
	ids, err := w.put(ctx, data)
	if err != nil {
		return nil, w.fail(err)
	}
	return ids, nil
}

func (w *writer) put(ctx context.Context, data [][]byte) ([]store.ID, error) {
	ids := make([]store.ID, len(data))
	for i, b := range data {
		if len(b) == 0 || len(b) > store.MaxChunk {
			return nil, fmt.Errorf("put chunk of %d bytes: want 1 to %d", len(b), store.MaxChunk)
		}
		ids[i] = w.store.config.Domain.ID(b)
	}
	return ids, w.stage(ctx, ids, data)
}

// stage adds chunks to the batch and sorts the batch when it is full.
func (w *writer) stage(ctx context.Context, ids []store.ID, data [][]byte) error {
	for len(ids) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, full := w.gather(ids, data)
		if full != nil {
			if err := w.sort(ctx, full); err != nil {
				return err
			}
		}
		ids, data = ids[n:], data[n:]
	}
	return nil
}

// gather adds chunks to the batch and hands that over when it is full. It
// returns how many it took: as many as it can, so that what was put together
// lies together, whatever others put at the same time.
func (w *writer) gather(ids []store.ID, data [][]byte) (n int, full *gathering) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, id := range ids {
		w.stats.Chunks++
		w.stats.Bytes += int64(len(data[i]))
		if _, ok := w.pending[id]; ok {
			continue
		}
		w.pending[id] = struct{}{}
		w.batch.add(id, data[i])
		if w.batch.holds(batchTarget) {
			full, w.batch = w.batch, newGathering()
			return i + 1, full
		}
	}
	return len(ids), nil
}

// sort looks up a batch, forgets the chunks that are present and writes the
// others.
func (w *writer) sort(ctx context.Context, g *gathering) error {
	data := g.data
	defer func() { recycle(data) }()
	present, err := w.store.index.Present(ctx, idsOf(g.chunks))
	if err != nil {
		return err
	}
	w.count(g.chunks, present)
	g.drop(present)
	return w.arrange(ctx, g)
}

// arrange writes chunks that are new in frames, and keeps what is too little
// for one.
func (w *writer) arrange(ctx context.Context, g *gathering) error {
	if dense := g.divide(); dense != nil {
		data := dense.data
		defer func() { recycle(data) }()
		if err := w.fill(ctx, dense); err != nil {
			return err
		}
	}
	return w.fill(ctx, g)
}

// fill writes chunks of one sort in frames, and keeps what is left.
func (w *writer) fill(ctx context.Context, g *gathering) error {
	for g.enough() {
		if err := w.write(ctx, g.cut()); err != nil {
			return err
		}
	}
	full := w.keep(g)
	if full == nil {
		return nil
	}
	defer func() { recycle(full.data) }()
	return w.write(ctx, full)
}

// count takes what is present off the list of pending chunks, and counts what
// is new.
func (w *writer) count(chunks []pack.Chunk, present []bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, c := range chunks {
		if present[i] {
			delete(w.pending, c.ID)
			continue
		}
		w.stats.NewChunks++
		w.stats.NewBytes += int64(c.Len)
	}
}

// keep adds what is left of a batch to the rest of its sort, and hands that
// over when it is enough for a frame, or when both together are too many chunks
// for one.
func (w *writer) keep(g *gathering) (full *gathering) {
	w.mu.Lock()
	defer w.mu.Unlock()
	rest := w.rest[g.sort()]
	if len(rest.chunks)+len(g.chunks) > pack.MaxFrameChunks {
		full, rest = rest, g.another()
	}
	rest.data = append(rest.data, g.data...)
	rest.chunks = append(rest.chunks, g.chunks...)
	if full == nil && rest.enough() {
		full, rest = rest, g.another()
	}
	w.rest[g.sort()] = rest
	return full
}

// write compresses a frame and adds it to the open pack.
func (w *writer) write(ctx context.Context, f *gathering) error {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	*buf = f.encode((*buf)[:0])
	return w.add(ctx, *buf, f.chunks)
}

// add appends a frame to the open pack, and publishes the pack when that fills
// it.
func (w *writer) add(ctx context.Context, frame []byte, chunks []pack.Chunk) error {
	full, err := w.append(frame, chunks)
	if err != nil {
		return err
	}
	if full != nil {
		return w.publish(ctx, full)
	}
	return nil
}

// append adds a frame to the open pack and hands that over when it is full.
func (w *writer) append(frame []byte, chunks []pack.Chunk) (full *packing, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return nil, w.err
	}
	if w.pack == nil {
		if w.pack, err = w.store.newPacking(w.lease, w.packs); err != nil {
			return nil, err
		}
		w.packs++
	}
	if err := w.pack.append(frame, chunks); err != nil {
		return nil, err
	}
	w.stats.StoredBytes += int64(len(frame))
	if w.pack.full() {
		full, w.pack = w.pack, nil
	}
	return full, nil
}

// publish makes a pack durable and visible.
func (w *writer) publish(ctx context.Context, p *packing) error {
	if _, err := p.publish(ctx); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range p.frames {
		for _, c := range f.Chunks {
			delete(w.pending, c.ID)
		}
	}
	return nil
}

// Flush makes everything put so far durable and visible.
func (w *writer) Flush(ctx context.Context) error {
	w.gate.Lock()
	defer w.gate.Unlock()
	if err := w.refuse(); err != nil {
		return err
	}
	if err := w.flush(ctx); err != nil {
		return w.fail(err)
	}
	return nil
}

// flush runs alone, so it takes what is unfinished without asking for mu.
func (w *writer) flush(ctx context.Context) error {
	ready, batch := w.ready, w.batch
	w.ready, w.batch = newArrivals(), newGathering()
	if err := w.admit(ctx, ready); err != nil {
		return err
	}
	if err := w.sort(ctx, batch); err != nil {
		return err
	}
	for i, rest := range w.rest {
		w.rest[i] = rest.another()
		if len(rest.chunks) == 0 {
			continue
		}
		if err := w.write(ctx, rest); err != nil {
			return err
		}
	}
	last := w.pack
	w.pack = nil
	if last == nil {
		return nil
	}
	return w.publish(ctx, last)
}

// Stats tells what this writer has added so far.
func (w *writer) Stats() store.WriteStats {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stats
}

// Close gives up what was not flushed, compacts the index if that is worth it,
// and ends the lease.
func (w *writer) Close() error {
	w.gate.Lock()
	defer w.gate.Unlock()
	if w.closed {
		return nil
	}
	w.closed = true
	if w.pack != nil {
		w.pack.discard()
		w.pack = nil
	}
	if w.packs > 0 && w.err == nil {
		// What keeps it from being compacted now may have gone the next time.
		_ = w.store.index.Compact(context.Background(), w.store.tmp(w.lease.Name+"-"+indexName))
	}
	return w.lease.Release(context.Background())
}

// refuse returns why the writer takes nothing more, or nil.
func (w *writer) refuse() error {
	if w.closed || !w.lease.Alive() {
		return errClosed
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return fmt.Errorf("writer failed before: %w", w.err)
	}
	return nil
}

// fail keeps the first error.
func (w *writer) fail(err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
	return err
}
