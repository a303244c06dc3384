package ondemand

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/sync/errgroup"

	"satchel/store"
	"satchel/store/pack"
	"satchel/syncer"
)

// How long a request may bring nothing before another is made in its place, at
// first and at most, and the pauses between tries.
const (
	firstPatience = 10 * time.Second
	lastPatience  = 80 * time.Second
	firstPause    = 200 * time.Millisecond
	lastPause     = 5 * time.Second
)

// What a prefetch asks for in one request, and how many are under way.
const (
	prefetchChunks  = 128
	prefetchBytes   = 1 << 20
	prefetchStreams = 2
)

// flight returns the flight of a chunk, and starts it if there is none.
func (g *Getter) flight(id store.ID) *flight {
	g.mu.Lock()
	if f, ok := g.flights[id]; ok {
		g.mu.Unlock()
		return f
	}
	if b := g.keep.get(id); b != nil { // it has come just now
		g.mu.Unlock()
		f := &flight{done: make(chan struct{}), data: b}
		close(f.done)
		return f
	}
	f := g.board(id, missed)
	if err := g.ctx.Err(); err != nil { // it is closed, so nothing may start
		delete(g.flights, id)
		f.err = fmt.Errorf("wait for a chunk: %w", err)
		close(f.done)
		g.mu.Unlock()
		return f
	}
	defer g.mu.Unlock()
	g.work.Go(func() {
		// What is here by now need not be asked for; it may have come just now.
		ids := append([]store.ID{id}, g.claim(g.order.after(id), companion)...)
		g.fetch(g.absent(ids))
	})
	return f
}

// board adds a flight; g.mu is held.
func (g *Getter) board(id store.ID, why class) *flight {
	f := &flight{done: make(chan struct{})}
	g.flights[id] = f
	if _, ok := g.came[id]; !ok {
		g.came[id] = why
	}
	return f
}

// claim starts flights for those of the chunks that have none and have not come.
func (g *Getter) claim(ids []store.ID, why class) []store.ID {
	var claimed []store.ID
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, id := range ids {
		_, flying := g.flights[id]
		_, came := g.came[id]
		if !flying && !came {
			g.board(id, why)
			claimed = append(claimed, id)
		}
	}
	return claimed
}

// absent returns the chunks that are not here; the flights of the others end.
func (g *Getter) absent(ids []store.ID) []store.ID {
	has, err := g.opt.Store.Has(g.ctx, ids)
	if err != nil {
		return ids
	}
	var absent []store.ID
	for i, id := range ids {
		switch {
		case has[i]:
			g.land(id, nil, nil)
			g.mu.Lock()
			if g.came[id] != missed {
				delete(g.came, id) // it was here
			}
			g.mu.Unlock()
		default:
			absent = append(absent, id)
		}
	}
	return absent
}

// land ends a flight.
func (g *Getter) land(id store.ID, data []byte, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f, ok := g.flights[id]
	if !ok {
		return
	}
	delete(g.flights, id)
	f.data, f.err = data, err
	close(f.done)
}

// fetch brings chunks that have flights, and ends all of these.
func (g *Getter) fetch(ids []store.ID) {
	of := map[store.LayerID][]store.ID{}
	for _, id := range ids {
		layer, _ := g.order.layer(id) // else zero: nobody knows
		of[layer] = append(of[layer], id)
	}
	var eg errgroup.Group
	for layer, ids := range of {
		eg.Go(func() error {
			if err := g.fetchOf(layer, ids); err != nil {
				for _, id := range ids {
					g.land(id, nil, err)
				}
			}
			return nil
		})
	}
	_ = eg.Wait() // errors are those of flights
}

// fetchOf brings chunks of one layer, or if that is zero of any.
func (g *Getter) fetchOf(layer store.LayerID, ids []store.ID) error {
	if !layer.IsZero() {
		return g.persist(layer, ids)
	}
	err := fmt.Errorf("chunk %s: %w", ids[0].Short(), store.ErrNotExist)
	for _, l := range g.opt.Layers {
		if next := g.persist(l.Layer, ids); !errors.Is(next, syncer.ErrForbidden) {
			return next
		}
	}
	for _, l := range g.opt.Others {
		if next := g.persist(l, ids); !errors.Is(next, syncer.ErrForbidden) {
			return next
		}
	}
	return err
}

// persist tries until all chunks have come, or something fails that no other try
// cures.
func (g *Getter) persist(layer store.LayerID, ids []store.ID) error {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval, pause.Multiplier = firstPause, lastPause, 2
	patience := firstPatience
	for {
		err := g.try(layer, ids, patience)
		left := g.flying(ids)
		switch {
		case len(left) == 0:
			g.outage.end(g.opt.Note)
			return nil
		case g.ctx.Err() != nil:
			return g.ctx.Err()
		case err == nil:
			err = fmt.Errorf("the server left out %d chunks: %w", len(left), syncer.ErrUnavailable)
		case !passing(err):
			return err
		}
		if len(left) < len(ids) {
			pause.Reset()
		}
		ids = left
		patience = min(2*patience, lastPatience)
		g.outage.begin(g.opt.Note, err)
		select {
		case <-time.After(pause.NextBackOff()):
		case <-g.ctx.Done():
			return g.ctx.Err()
		}
	}
}

// passing reports an error that another try may cure.
func passing(err error) bool {
	return errors.Is(err, syncer.ErrUnavailable) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, errSilent)
}

// flying returns those of the chunks that have flights.
func (g *Getter) flying(ids []store.ID) (left []store.ID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, id := range ids {
		if _, ok := g.flights[id]; ok {
			left = append(left, id)
		}
	}
	return left
}

var errSilent = errors.New("nothing came for too long")

// try makes one request. It gives up when nothing comes for as long as its
// patience: another connection may work where this one does not.
func (g *Getter) try(layer store.LayerID, ids []store.ID, patience time.Duration) error {
	ctx, cancel := context.WithCancelCause(g.ctx)
	defer cancel(nil)
	timer := time.AfterFunc(patience, func() {
		g.outage.begin(g.opt.Note, errSilent)
		cancel(errSilent)
	})
	defer timer.Stop()
	asked := make(map[store.ID]bool, len(ids))
	for _, id := range ids {
		asked[id] = true
	}
	g.mu.Lock()
	g.stats.Requests++
	g.mu.Unlock()
	err := g.opt.Remote().Fetch(ctx, layer, ids, func(frame []byte) error {
		timer.Reset(patience)
		return g.arrive(frame, asked)
	})
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, errSilent) {
		return errSilent
	}
	return err
}

// arrive hands the chunks of a frame to those who wait, and then has them kept.
func (g *Getter) arrive(frame []byte, asked map[store.ID]bool) error {
	content, err := pack.DecodeFrame(frame, nil)
	if err == nil {
		err = content.Damage
	}
	if err != nil {
		return fmt.Errorf("%w: %w", syncer.ErrForged, err)
	}
	g.mu.Lock()
	g.stats.Fetched += int64(len(frame))
	g.mu.Unlock()
	domain, rest := g.opt.Store.Domain(), content.Data
	for _, n := range content.Lens {
		data := rest[:n:n]
		rest = rest[n:]
		id := domain.ID(data)
		if !asked[id] {
			return fmt.Errorf("chunk %s was not asked for: %w", id.Short(), syncer.ErrForged)
		}
		g.keep.hold(id, data) // before it lands, so that nobody asks for it again
		g.land(id, data, nil)
	}
	g.keep.put(frame)
	return nil
}

// prefetch brings the chunks of the trace, in order, and makes way for misses.
func (g *Getter) prefetch() {
	var eg errgroup.Group
	eg.SetLimit(prefetchStreams)
	rest := g.order.trace
	for len(rest) > 0 && g.ctx.Err() == nil {
		n, bytes := 0, int64(0)
		for n < len(rest) && n < prefetchChunks && bytes < prefetchBytes {
			bytes += g.order.size(rest[n])
			n++
		}
		batch := rest[:n]
		rest = rest[n:]
		eg.Go(func() error {
			if ids := g.claim(batch, prefetched); len(ids) > 0 {
				g.fetch(g.absent(ids))
			}
			return nil
		})
	}
	_ = eg.Wait() // errors are those of flights
}
