package exchange

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"satchel/layers"
	"satchel/layers/manifest"
	"satchel/store"
	"satchel/syncer"
)

// deltas sends what it can of versions as deltas from the server's version from.
// What it leaves, deliver sends.
func (p *pusher) deltas(ctx context.Context, from store.ID, versions []store.ID) error {
	if from.IsZero() || p.opt.Deltas == Never {
		return nil
	}
	base, err := manifest.ReadVersion(ctx, p.st, from)
	if err != nil {
		return err
	}
	pairs, newest, err := p.plan(ctx, base, from, versions)
	if err != nil {
		return err
	}
	chunks, size := sizeOf(pairs)
	if chunks > smallIDs || size > smallBytes {
		if pairs, err = p.wanted(ctx, pairs); err != nil {
			return err
		}
		_, size = sizeOf(pairs)
	}
	if p.opt.Deltas != Always && size > tryLine {
		fast, rest, err := p.try(ctx, pairs)
		if err != nil || fast {
			return err
		}
		pairs = rest
	}
	if err := p.sketch(ctx, pairs); err != nil {
		return err
	}
	if err := refer(ctx, p.st, pairs, base, newest, p.opt.Deltas); err != nil {
		return err
	}
	return p.requests(ctx, pairs)
}

// plan pairs what versions need beyond the server's version base, and returns the
// last of them.
func (p *pusher) plan(ctx context.Context, base layers.Version, from store.ID, versions []store.ID) (pairs []pairing, newest layers.Version, err error) {
	plan := &planner{get: p.st, done: idSet{}, emit: func(q pairing) { pairs = append(pairs, q) }}
	for _, id := range versions {
		if newest, err = manifest.ReadVersion(ctx, p.st, id); err != nil {
			return nil, newest, err
		}
		for _, roots := range [][2]layers.Root{{base.Tree, newest.Tree}, {base.Base, newest.Base}} {
			if err := plan.trees(ctx, roots[0], roots[1]); err != nil {
				return nil, newest, err
			}
		}
	}
	n := newNeeds(p.st)
	n.beside = func(older []store.ID, newer []piece) { pairs = append(pairs, besides(older, newer)...) }
	err = n.each(ctx, from, versions, func(context.Context, []piece) error { return nil })
	return pairs, newest, err
}

// wanted returns the pairs of which the server wants any chunk.
func (p *pusher) wanted(ctx context.Context, pairs []pairing) ([]pairing, error) {
	wanted := idSet{}
	for ps := piecesOf(pairs); len(ps) > 0; {
		n := min(len(ps), pageIDs)
		var left []piece
		err := again(ctx, p.meter, func() (_ bool, err error) {
			left, err = p.offer(ctx, ps[:n])
			return false, err
		})
		if err != nil {
			return nil, err
		}
		for _, q := range left {
			wanted.add(q.id)
		}
		ps = ps[n:]
	}
	var kept []pairing
	for _, q := range pairs {
		for _, id := range q.Target {
			if wanted.has(id) {
				kept = append(kept, q)
				break
			}
		}
	}
	return kept, nil
}

// try sends some targets whole, and tells whether that was fast. The rest is
// left.
func (p *pusher) try(ctx context.Context, pairs []pairing) (fast bool, rest []pairing, err error) {
	n := trialOf(pairs)
	batch := piecesOf(pairs[:n])
	_, size := sizeOf(pairs[:n])
	start := time.Now()
	if err := p.batch(ctx, batch); err != nil {
		return false, nil, err
	}
	for _, q := range batch {
		p.sent.add(q.id)
	}
	return isFast(size, time.Since(start)), pairs[n:], nil
}

// requests sends pairs, several requests at a time.
func (p *pusher) requests(ctx context.Context, pairs []pairing) error {
	var mu sync.Mutex
	eg, inner := errgroup.WithContext(ctx)
	eg.SetLimit(p.opt.streams())
	for len(pairs) > 0 && inner.Err() == nil {
		n := requestOf(pairs)
		batch := pairs[:n:n]
		pairs = pairs[n:]
		eg.Go(func() error {
			err := p.request(inner, batch)
			if errors.Is(err, store.ErrNotExist) {
				return nil // the server lacks a base by now, or takes no deltas
			}
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			for _, q := range piecesOf(batch) {
				p.sent.add(q.id)
			}
			return nil
		})
	}
	return eg.Wait()
}

// request sends pairs. After a cut it asks which of them are still wanted.
func (p *pusher) request(ctx context.Context, pairs []pairing) error {
	first := true
	return again(ctx, p.meter, func() (bool, error) {
		before := len(pairs)
		if !first {
			left, err := p.wanted(ctx, pairs)
			if err != nil {
				return false, err
			}
			pairs = left
		}
		first = false
		if len(pairs) == 0 {
			return true, nil
		}
		err := p.r.UploadDeltas(ctx, p.layer, func(emit func(syncer.Pair, syncer.Delta) error) error {
			for i := range pairs {
				d, err := p.codec.Make(ctx, &pairs[i].Pair)
				if err != nil {
					return err
				}
				if err := emit(pairs[i].Pair, d); err != nil {
					return err
				}
			}
			return nil
		})
		if err == nil {
			p.meter.brought(piecesOf(pairs))
		}
		return len(pairs) < before, err
	})
}
