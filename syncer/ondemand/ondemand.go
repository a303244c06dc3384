// Package ondemand reads chunks that may not have arrived yet.
//
// # Vocabulary
//
// A miss is a chunk that somebody reads and that is not here. Its companions are
// chunks that will probably be read next, and are asked for in the same request.
// A flight is a chunk that was asked for and has not come. To prefetch is to ask
// for the chunks of a trace before anybody reads them.
//
// # Invariants
//
//   - A chunk has one flight at a time, however many wait for it.
//   - What is handed out was named by hashing it.
//   - A connection that is lost is no error: reads wait until it is back, or
//     until the getter is closed. A person is told.
//   - Nothing counts as here that is not durable: what has arrived is put into
//     the store, and until that is flushed it is handed out of memory.
//
// # The one idea
//
// To whom reads, a chunk that is elsewhere is a chunk that takes longer. So the
// getter is a [store.Getter] like the store, and nobody else needs to know.
package ondemand

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"satchel/store"
	"satchel/store/disk"
	"satchel/syncer"
	"satchel/syncer/trace"
)

// Options say where chunks come from.
type Options struct {
	Store  *disk.Store
	Remote func() syncer.Remote
	// Layers are the read-only layers of the stack, lowest first, and Others
	// those that are asked for what none of these is known to have.
	Layers []trace.Layer
	Others []store.LayerID
	Trace  []store.ID // what to prefetch, in order
	Note   func(format string, args ...any)
}

// Stats counts what a getter did.
type Stats struct {
	Used       int           `json:"used"`       // chunks that were read
	Here       int           `json:"here"`       // of those, chunks that were here from the start
	Prefetched int           `json:"prefetched"` // chunks that a trace had fetched, or was fetching, when they were first read
	Companions int           `json:"companions"` // the same, as companions of others
	Missed     int           `json:"missed"`     // chunks that had to be asked for
	Fetched    int64         `json:"fetched"`    // compressed bytes that came
	Requests   int64         `json:"requests"`
	Waited     time.Duration `json:"waited"` // that reads waited, added up
}

// class says why a chunk was asked for.
type class byte

const (
	missed class = iota + 1
	companion
	prefetched
)

// A Getter reads chunks from the store, and from a server those that the store
// lacks. It may be used by several goroutines at once.
type Getter struct {
	opt    Options
	order  *order
	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup
	keep   *keeper

	mu      sync.Mutex
	flights map[store.ID]*flight
	came    map[store.ID]class    // chunks that were fetched
	seen    map[store.ID]struct{} // chunks that were read
	first   []store.ID            // the same, in order
	stats   Stats
	waiting int           // misses that somebody waits for
	idle    chan struct{} // closed while there is none
	outage  outage
}

// A flight is a chunk that was asked for.
type flight struct {
	done chan struct{} // closed when the rest is final
	data []byte        // nil without an error: it is in the store
	err  error
}

// Open returns a getter for a stack and begins to prefetch. When ctx is done its
// reads end.
func Open(ctx context.Context, opt Options) (*Getter, error) {
	if opt.Note == nil {
		opt.Note = func(string, ...any) {}
	}
	g := &Getter{
		opt: opt, flights: map[store.ID]*flight{}, came: map[store.ID]class{}, seen: map[store.ID]struct{}{},
		idle: make(chan struct{}),
	}
	close(g.idle)
	thin, err := opt.Store.Heads().Thin(ctx)
	if err != nil {
		return nil, err
	}
	if g.order, err = newOrder(ctx, opt.Store, opt.Layers, thin); err != nil {
		return nil, fmt.Errorf("read the manifests: %w", err)
	}
	g.ctx, g.cancel = context.WithCancel(ctx)
	g.keep = newKeeper(opt.Store, opt.Note)
	if len(thin) > 0 && len(opt.Trace) > 0 {
		g.order.follow(opt.Trace)
		g.work.Go(g.prefetch)
	}
	return g, nil
}

// Close ends all reads and makes durable what has come.
func (g *Getter) Close() error {
	g.mu.Lock()
	g.cancel()
	g.mu.Unlock()
	g.work.Wait()
	return g.keep.close()
}

// Get implements [store.Getter].
func (g *Getter) Get(ctx context.Context, id store.ID) ([]byte, error) {
	first := g.note(id)
	for {
		if b := g.keep.get(id); b != nil {
			g.count(id, first)
			return b, nil
		}
		b, err := g.opt.Store.Get(ctx, id)
		if err == nil || !errors.Is(err, store.ErrNotExist) {
			g.count(id, first)
			return b, err
		}
		f := g.flight(id)
		g.count(id, first)
		first = false
		if b, err := g.await(ctx, f); b != nil || err != nil {
			return b, err
		}
	}
}

// Locate implements [store.Lender].
func (g *Getter) Locate(ctx context.Context, ids []store.ID) error {
	return g.opt.Store.Locate(ctx, ids)
}

// Lend implements [store.Lender]: if all are in the store, that lends them.
func (g *Getter) Lend(ctx context.Context, ids []store.ID, use func(chunks [][]byte) error) error {
	lent := false
	err := g.opt.Store.Lend(ctx, ids, func(chunks [][]byte) error {
		lent = true
		for _, id := range ids {
			g.count(id, g.note(id))
		}
		return use(chunks)
	})
	if lent || !errors.Is(err, store.ErrNotExist) {
		return err
	}
	return store.GiveAll(ctx, g, ids, use)
}

// note remembers that a chunk was read, and reports whether that was the first
// time.
func (g *Getter) note(id store.ID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, ok := g.seen[id]; ok {
		return false
	}
	if len(g.first) < trace.MaxChunks {
		g.first = append(g.first, id)
	}
	g.seen[id] = struct{}{}
	return true
}

// count counts a chunk that was read for the first time.
func (g *Getter) count(id store.ID, first bool) {
	if !first {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stats.Used++
	switch g.came[id] {
	case missed:
		g.stats.Missed++
	case companion:
		g.stats.Companions++
	case prefetched:
		g.stats.Prefetched++
	default:
		g.stats.Here++
	}
}

// await waits for a flight, ahead of what nobody waits for.
func (g *Getter) await(ctx context.Context, f *flight) ([]byte, error) {
	began := time.Now()
	g.wait(1)
	defer func() {
		g.wait(-1)
		g.mu.Lock()
		defer g.mu.Unlock()
		g.stats.Waited += time.Since(began)
	}()
	select {
	case <-f.done:
		return f.data, f.err
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-g.ctx.Done():
		return nil, fmt.Errorf("wait for a chunk: %w", g.ctx.Err())
	}
}

func (g *Getter) wait(by int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	before := g.waiting
	g.waiting += by
	switch {
	case before == 0:
		g.idle = make(chan struct{})
	case g.waiting == 0:
		close(g.idle)
	}
}

// Waiting reports whether somebody waits for a chunk.
func (g *Getter) Waiting() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.waiting > 0
}

// Idle returns when nobody waits for a chunk. Whoever fetches what is not needed
// at once calls it before each step, and so makes way.
func (g *Getter) Idle(ctx context.Context) error {
	for {
		g.mu.Lock()
		n, idle := g.waiting, g.idle
		g.mu.Unlock()
		if n == 0 {
			return ctx.Err()
		}
		select {
		case <-idle:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Used returns the chunks that have been read so far, in the order of their
// first use.
func (g *Getter) Used() []store.ID {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]store.ID(nil), g.first...)
}

// Stats returns what was done so far.
func (g *Getter) Stats() Stats {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.stats
}
