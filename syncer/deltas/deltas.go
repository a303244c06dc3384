// Package deltas makes and applies the deltas of pairs, for both ends of a sync.
//
// # Vocabulary
//
// A pair names two runs of chunks: a base, which both ends hold, and a target,
// which one of them lacks. The delta is what makes the target of the base.
//
// # Invariants
//
//   - Of what a delta makes, every chunk is named anew: a delta can bring nothing
//     but the chunks that its pair names.
//   - Memory is bounded, however many pairs are worked on.
//
// # The one idea
//
// Chunks are what is verified and stored; a delta is only another way for them
// to travel.
package deltas

import (
	"context"
	"fmt"
	"runtime"
	"sync"

	"golang.org/x/sync/semaphore"

	"satchel/store"
	"satchel/store/chunk"
	"satchel/store/delta"
	"satchel/syncer"
)

// room bounds the bytes of the bases and targets that are worked on together. The
// open forms of archives, which are small, take up to 24 MiB more for each
// processor.
const room = delta.MaxBase + 2*delta.MaxTarget

// buffers spare the memory of bases and targets.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// A Codec makes and applies deltas over one store. Its methods may be called
// from several goroutines at once.
type Codec struct {
	get    store.Getter
	domain chunk.Domain
	room   *semaphore.Weighted
	busy   chan struct{} // as many as work at the same time
}

// New returns a codec for the chunks of a store of that domain.
func New(get store.Getter, domain chunk.Domain) *Codec {
	return &Codec{get: get, domain: domain, room: semaphore.NewWeighted(room), busy: make(chan struct{}, runtime.GOMAXPROCS(0))}
}

// reserve waits for room for a pair. How long its chunks are shows only when they
// are read.
func (c *Codec) reserve(ctx context.Context, p *syncer.Pair) (release func(), err error) {
	base := min((len(p.Others)+len(p.Base))*min(c.domain.Max, delta.MaxBase), delta.MaxBase)
	target := min(len(p.Target)*min(c.domain.Max, delta.MaxTarget), delta.MaxTarget)
	n := int64(base + target)
	if err := c.room.Acquire(ctx, n); err != nil {
		return nil, context.Cause(ctx)
	}
	select {
	case c.busy <- struct{}{}:
	case <-ctx.Done():
		c.room.Release(n)
		return nil, context.Cause(ctx)
	}
	return func() { <-c.busy; c.room.Release(n) }, nil
}

// Make returns the delta of a pair. It fails with [store.ErrNotExist] when a
// chunk is not in the store, and with [syncer.ErrTooLarge] when base or target
// are larger than they may be.
func (c *Codec) Make(ctx context.Context, p *syncer.Pair) (d syncer.Delta, err error) {
	release, err := c.reserve(ctx, p)
	if err != nil {
		return d, err
	}
	defer release()
	base, target := buffers.Get().(*[]byte), buffers.Get().(*[]byte) //nolint:errcheck,forcetypeassert // it holds nothing else
	defer buffers.Put(base)
	defer buffers.Put(target)
	from, err := c.base(ctx, p, base)
	if err != nil {
		return d, err
	}
	if d.Lens, err = c.read(ctx, p.Target, target, delta.MaxTarget); err != nil {
		return d, err
	}
	d.Data, d.Open = encode(from, delta.Span{Data: *target, Offset: p.Offset})
	return d, nil
}

// base reads what a pair's delta is made from. The others lie before the base, so
// that it keeps its place in its file.
func (c *Codec) base(ctx context.Context, p *syncer.Pair, buf *[]byte) (delta.Span, error) {
	lens, err := c.read(ctx, p.Sources(), buf, delta.MaxBase)
	if err != nil {
		return delta.Span{}, err
	}
	before := 0
	for _, n := range lens[:len(p.Others)] {
		before += n
	}
	return delta.Span{Data: *buf, Offset: p.BaseOffset - int64(before)}, nil
}

// Apply calls take with the chunks of a pair's target, made of its base and its
// delta; take must not keep them. It fails with [store.ErrNotExist] when a chunk of the base is not in
// the store, and with [syncer.ErrForged] when the delta makes anything but what
// the pair names.
func (c *Codec) Apply(ctx context.Context, p *syncer.Pair, d syncer.Delta, take func(chunks [][]byte) error) error {
	if len(d.Lens) != len(p.Target) {
		return fmt.Errorf("delta of %d chunks, not %d: %w", len(d.Lens), len(p.Target), syncer.ErrForged)
	}
	release, err := c.reserve(ctx, p)
	if err != nil {
		return err
	}
	defer release()
	base, buf := buffers.Get().(*[]byte), buffers.Get().(*[]byte) //nolint:errcheck,forcetypeassert // it holds nothing else
	defer buffers.Put(base)
	defer buffers.Put(buf)
	from, err := c.base(ctx, p, base)
	if err != nil {
		return err
	}
	target, err := decode(buf, from, p.Offset, &d)
	if err != nil {
		return fmt.Errorf("%w: %w", syncer.ErrForged, err)
	}
	chunks := make([][]byte, len(d.Lens))
	for i, n := range d.Lens {
		chunks[i], target = target[:n:n], target[n:]
		if c.domain.ID(chunks[i]) != p.Target[i] {
			return fmt.Errorf("chunk %s: a delta makes another: %w", p.Target[i].Short(), syncer.ErrForged)
		}
	}
	return take(chunks)
}

// read reads chunks into a buffer, of which they must not take more than limit.
func (c *Codec) read(ctx context.Context, ids []store.ID, buf *[]byte, limit int) (lens []int, err error) {
	*buf = (*buf)[:0]
	lens = make([]int, len(ids))
	for i, id := range ids {
		b, err := c.get.Get(ctx, id)
		if err != nil {
			return nil, err
		}
		if len(*buf)+len(b) > limit {
			return nil, fmt.Errorf("%d chunks of more than %d bytes: %w", len(ids), limit, syncer.ErrTooLarge)
		}
		*buf = append(*buf, b...)
		lens[i] = len(b)
	}
	return lens, nil
}
