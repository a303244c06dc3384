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
// A chunk goes into the frame that is being gathered; the caller that fills a
// frame compresses it and appends it to the open pack; the caller that fills a
// pack seals it. So as many cores compress as there are callers, and memory is
// bounded by their number.
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
	pending map[store.ID]struct{} // in a frame or pack that the index does not name yet
	frame   *gathering
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
	return &writer{store: s, lease: lease, pending: map[store.ID]struct{}{}, frame: &gathering{}}, nil
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
	present, err := w.store.index.Present(ctx, ids)
	if err != nil {
		return nil, err
	}
	for i := range data {
		full, err := w.stage(ids[i], data[i], present[i])
		if err != nil {
			return nil, err
		}
		if full != nil {
			if err := w.write(ctx, full); err != nil {
				return nil, err
			}
		}
	}
	return ids, nil
}

// stage adds a chunk to the frame that is being gathered, unless it is there
// already, and hands the frame over when it is full.
func (w *writer) stage(id store.ID, data []byte, present bool) (full *gathering, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return nil, w.err
	}
	w.stats.Chunks++
	w.stats.Bytes += int64(len(data))
	if _, ok := w.pending[id]; ok || present {
		return nil, nil
	}
	w.pending[id] = struct{}{}
	w.stats.NewChunks++
	w.stats.NewBytes += int64(len(data))
	f := w.frame
	f.add(id, data)
	if f.full() {
		w.frame = gatherings.Get().(*gathering)
		return f, nil
	}
	return nil, nil
}

// write compresses a frame, appends it to the open pack, and publishes the
// pack when that fills it.
func (w *writer) write(ctx context.Context, f *gathering) error {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	*buf = f.encode((*buf)[:0])
	full, err := w.append(*buf, f.chunks)
	if err != nil {
		return err
	}
	*f = gathering{data: f.data[:0]} // the chunks belong to the pack now
	gatherings.Put(f)
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
	if !w.pack.full() {
		return nil, nil
	}
	full, w.pack = w.pack, nil
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
	if len(w.frame.chunks) > 0 {
		f := w.frame
		w.frame = &gathering{}
		if err := w.write(ctx, f); err != nil {
			return w.fail(err)
		}
	}
	if p := w.pack; p != nil {
		w.pack = nil
		if err := w.publish(ctx, p); err != nil {
			return w.fail(err)
		}
	}
	return nil
}

// Stats tells what this writer has added so far.
func (w *writer) Stats() store.WriteStats {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stats
}

// Close gives up what was not flushed and ends the lease.
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
	return w.lease.Release(context.Background())
}

// refuse returns why the writer takes nothing more, or nil.
func (w *writer) refuse() error {
	if w.closed {
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
