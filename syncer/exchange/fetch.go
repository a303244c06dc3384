package exchange

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"satchel/store"
	"satchel/store/disk"
	"satchel/store/pack"
	"satchel/syncer"
	"satchel/syncer/deltas"
)

// A fetcher brings chunks of one layer from a remote into a writer.
type fetcher struct {
	st     *disk.Store
	w      store.Writer
	r      syncer.Remote
	layer  store.LayerID
	meter  *meter
	opt    Options
	codec  *deltas.Codec
	memory *semaphore.Weighted // bytes of frames that have arrived
	share  int64               // that the smallest frame counts for
}

func newFetcher(st *disk.Store, w store.Writer, r syncer.Remote, layer store.LayerID, opt Options) *fetcher {
	return &fetcher{
		st: st, w: w, r: r, layer: layer, opt: opt,
		meter:  &meter{report: opt.Progress},
		codec:  deltas.New(st, st.Domain()),
		memory: semaphore.NewWeighted(frameBytes),
		share:  int64(frameBytes / max(2*runtime.GOMAXPROCS(0), 8)),
	}
}

// buffers spare the memory of frames that have arrived.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// A request is a batch of chunks that are being fetched.
type request struct {
	*fetcher
	take func(id store.ID, data []byte) error // called for each chunk, if not nil

	mu      sync.Mutex
	missing map[store.ID]int64 // chunks that have not come yet, and their sizes
}

// fetch brings all of a batch. Take, which may be nil, is called with each
// chunk, by several goroutines; it must not keep the data.
func (f *fetcher) fetch(ctx context.Context, batch []piece, take func(id store.ID, data []byte) error) error {
	q := &request{fetcher: f, take: take, missing: make(map[store.ID]int64, len(batch))}
	for _, p := range batch {
		q.missing[p.id] = p.size
	}
	return again(ctx, f.meter, func() (bool, error) {
		before := len(q.missing)
		ids := make([]store.ID, 0, before)
		for _, p := range batch {
			if _, ok := q.missing[p.id]; ok {
				ids = append(ids, p.id)
			}
		}
		err := q.try(ctx, ids)
		if left := len(q.missing); err == nil && left > 0 {
			err = fmt.Errorf("the server left out %d of %d chunks: %w", left, before, syncer.ErrUnavailable)
		}
		return len(q.missing) < before, err
	})
}

// try makes one request. Nothing of it goes on when it returns.
func (q *request) try(ctx context.Context, ids []store.ID) error {
	eg, ctx := errgroup.WithContext(ctx)
	err := q.r.Fetch(ctx, q.layer, ids, q.receive(ctx, eg, q.put))
	if bad := eg.Wait(); bad != nil {
		return bad
	}
	return err
}

// receive returns a function that copies a frame and has it put by another
// goroutine. When too many have not been put yet, it waits.
func (f *fetcher) receive(ctx context.Context, eg *errgroup.Group, put func(ctx context.Context, frame []byte) error) func([]byte) error {
	return func(frame []byte) error {
		weight := min(max(int64(len(frame)), f.share), frameBytes)
		if err := f.memory.Acquire(ctx, weight); err != nil {
			return err
		}
		buf := buffers.Get().(*[]byte) //nolint:errcheck,forcetypeassert // it holds nothing else
		*buf = append((*buf)[:0], frame...)
		eg.Go(func() error {
			defer f.memory.Release(weight)
			defer buffers.Put(buf)
			// A writer that was stopped halfway would keep nothing of what came before.
			return put(context.WithoutCancel(ctx), *buf)
		})
		return nil
	}
}

// put stages a frame's chunks and takes them off those that are missing.
func (q *request) put(ctx context.Context, frame []byte) error {
	ids, err := q.stage(ctx, frame)
	if err != nil {
		return err
	}
	if err := q.arrived(ids); err != nil {
		return err
	}
	if q.take == nil {
		return nil
	}
	return eachChunk(frame, ids, q.take)
}

// arrived refuses chunks that were not asked for, or that have come before.
func (q *request) arrived(ids []store.ID) error {
	var bytes int64
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, id := range ids {
		size, ok := q.missing[id]
		if !ok {
			return fmt.Errorf("fetch: chunk %s was not asked for: %w", id.Short(), syncer.ErrForged)
		}
		delete(q.missing, id)
		bytes += size
	}
	q.meter.moved(int64(len(ids)), bytes, bytes)
	return nil
}

// stage has the writer take a frame. One that is damaged is the server's fault.
func (f *fetcher) stage(ctx context.Context, frame []byte) ([]store.ID, error) {
	ids, err := f.w.PutFrame(ctx, frame)
	if errors.Is(err, store.ErrCorrupt) {
		if _, broken := f.w.Has(ctx, nil); broken == nil {
			return nil, fmt.Errorf("%w: %w", syncer.ErrForged, err)
		}
	}
	return ids, err
}

// eachChunk calls take with the chunks of a frame.
func eachChunk(frame []byte, ids []store.ID, take func(id store.ID, data []byte) error) error {
	buf := buffers.Get().(*[]byte) //nolint:errcheck,forcetypeassert // it holds nothing else
	defer buffers.Put(buf)
	content, err := pack.DecodeFrame(frame, (*buf)[:0])
	if err != nil {
		return err
	}
	*buf = content.Data
	rest := content.Data
	for i, n := range content.Lens {
		if err := take(ids[i], rest[:n]); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}
