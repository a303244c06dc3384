package exchange

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"satchel/layers"
	"satchel/layers/manifest"
	"satchel/store"
	"satchel/syncer"
)

// Deltas says when chunks move as their difference from older ones.
type Deltas string

// When deltas are used.
const (
	Auto   Deltas = "auto"   // where the line is slower than making them
	Always Deltas = "always" // where there is anything to make them from
	Never  Deltas = "never"
)

// ParseDeltas returns the choice of that name.
func ParseDeltas(s string) (Deltas, error) {
	switch d := Deltas(s); d {
	case Auto, Always, Never:
		return d, nil
	}
	return "", fmt.Errorf("deltas %q: want %s, %s or %s", s, Auto, Always, Never)
}

// When Auto tries the line: at so many bytes of plaintext in pairs it fetches the
// first few whole, and goes on so if they come fast. To make and to apply deltas
// costs more time than it spares on such a line.
const (
	tryLine  = 4 << 20 // bytes of plaintext
	trial    = 1 << 20 // of those that are fetched whole
	fastLine = 4 << 20 // bytes of plaintext a second
)

// deltas fetches what it can of a version as deltas from another of the layer's,
// which is complete. What it leaves, others fetch.
func (f *fetcher) deltas(ctx context.Context, v layers.Version, nodes idSet, held []store.ID) error {
	base, ok, err := f.base(ctx, held)
	if err != nil || !ok || f.opt.Deltas == Never {
		return err
	}
	// The plan is made of manifests, which have to be read back.
	if err := f.descend(ctx, v, nodes, newLineage(f.st, base, v), func(context.Context, manifest.Refs) error { return nil }); err != nil {
		return err
	}
	if err := f.w.Flush(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	var pairs []pairing
	size := 0
	plan := &planner{
		get: f.st, done: idSet{},
		want: func(ctx context.Context, ids []store.ID) ([]bool, error) {
			has, err := f.w.Has(context.WithoutCancel(ctx), ids)
			for i := range has {
				has[i] = !has[i]
			}
			return has, err
		},
		emit: func(p pairing) {
			pairs = append(pairs, p)
			size += p.size
		},
	}
	for _, roots := range [][2]layers.Root{{base.Tree, v.Tree}, {base.Base, v.Base}} {
		if err := plan.trees(ctx, roots[0], roots[1]); err != nil {
			return err
		}
	}
	if f.opt.Deltas != Always && size > tryLine {
		fast, rest, err := f.try(ctx, pairs)
		if err != nil || fast {
			return err
		}
		pairs = rest
	}
	return f.ask(ctx, pairs, base, v)
}

// ask asks for pairs, and for those of which the server tells what their bases
// lack once more, with what was found of that in the older version.
func (f *fetcher) ask(ctx context.Context, pairs []pairing, older, newer layers.Version) error {
	_, size := sizeOf(pairs)
	for i := range pairs {
		pairs[i].Sketch = size <= mostSketched
	}
	if err := f.requests(ctx, pairs, nil); err != nil {
		return err
	}
	pairs = slices.DeleteFunc(pairs, func(p pairing) bool { return p.sketch == nil })
	for i := range pairs {
		pairs[i].Sketch = false
	}
	if err := refer(ctx, f.st, pairs, older, newer, f.opt.Deltas); err != nil {
		return err
	}
	return f.requests(ctx, pairs, nil)
}

// base returns the newest of the versions held that is of the layer.
func (f *fetcher) base(ctx context.Context, held []store.ID) (base layers.Version, ok bool, err error) {
	for _, id := range held {
		v, err := manifest.ReadVersion(ctx, f.st, id)
		if err != nil {
			return base, false, err
		}
		if v.Layer == f.layer && (!ok || v.Time.After(base.Time)) {
			base, ok = v, true
		}
	}
	return base, ok, nil
}

// try fetches some targets whole, and tells whether that was fast. The rest is
// left.
func (f *fetcher) try(ctx context.Context, pairs []pairing) (fast bool, rest []pairing, err error) {
	n := trialOf(pairs)
	_, size := sizeOf(pairs[:n])
	start := time.Now()
	if err := f.fetch(ctx, piecesOf(pairs[:n]), nil); err != nil {
		return false, nil, err
	}
	return isFast(size, time.Since(start)), pairs[n:], nil
}

// trialOf returns how many of the pairs go whole to try the line.
func trialOf(pairs []pairing) (n int) {
	for chunks, size := 0, 0; n < len(pairs) && size < trial; n++ {
		if chunks += len(pairs[n].Target); n > 0 && chunks > batchIDs {
			break
		}
		size += pairs[n].size
	}
	return n
}

// isFast reports whether a line is faster than deltas.
func isFast(size int, took time.Duration) bool {
	return float64(size) > fastLine*took.Seconds()
}

// requests asks for pairs, several requests at a time. Take, which may be nil, is
// called with each chunk, by several goroutines; it must not keep the data. Some
// may be left out, or all, by a server that makes no deltas.
func (f *fetcher) requests(ctx context.Context, pairs []pairing, take func(id store.ID, data []byte) error) error {
	eg, ctx := errgroup.WithContext(ctx)
	eg.SetLimit(f.opt.streams())
	for len(pairs) > 0 && ctx.Err() == nil {
		n := requestOf(pairs)
		q := &deltaRequest{fetcher: f, pairs: pairs[:n:n], take: take, left: map[int]struct{}{}}
		pairs = pairs[n:]
		eg.Go(func() error { return q.run(ctx) })
	}
	err := eg.Wait()
	if errors.Is(err, store.ErrNotExist) {
		return nil
	}
	return err
}

// requestOf returns how many of the pairs make one request.
func requestOf(pairs []pairing) (n int) {
	ids, size := 0, 0
	for n < len(pairs) {
		p := &pairs[n]
		ids += p.Chunks()
		if n > 0 && (ids > syncer.MaxIDs || size >= pairsRequest) {
			break
		}
		size += p.size
		n++
	}
	return n
}

// A deltaRequest is pairs that are asked for together.
type deltaRequest struct {
	*fetcher
	pairs []pairing
	take  func(id store.ID, data []byte) error // called for each chunk, if not nil

	mu   sync.Mutex
	left map[int]struct{} // numbers of pairs of which nothing has come
}

func (q *deltaRequest) run(ctx context.Context) error {
	for i := range q.pairs {
		q.left[i] = struct{}{}
	}
	return again(ctx, q.meter, func() (bool, error) {
		before := len(q.left)
		var ask []syncer.Pair
		var number []int
		for i := range q.pairs {
			if _, ok := q.left[i]; ok {
				ask = append(ask, q.pairs[i].Pair)
				number = append(number, i)
			}
		}
		eg, inner := errgroup.WithContext(ctx)
		err := q.r.Deltas(inner, q.layer, ask,
			func(i int, d syncer.Delta) error { return q.receive(inner, eg, number[i], d) },
			func(i int, s syncer.Sketch) error { return q.sketch(number[i], s) })
		if bad := eg.Wait(); bad != nil {
			return false, bad
		}
		return len(q.left) < before, err
	})
}

// answered takes a pair off those that are left.
func (q *deltaRequest) answered(i int) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if _, ok := q.left[i]; !ok {
		return fmt.Errorf("a second answer to pair %d: %w", i, syncer.ErrForged)
	}
	delete(q.left, i)
	return nil
}

// sketch keeps what the base of a pair lacks.
func (q *deltaRequest) sketch(i int, s syncer.Sketch) error {
	if err := q.answered(i); err != nil {
		return err
	}
	q.pairs[i].sketch = s
	return nil
}

// receive has another goroutine apply a delta.
func (q *deltaRequest) receive(ctx context.Context, eg *errgroup.Group, i int, d syncer.Delta) error {
	if err := q.answered(i); err != nil {
		return err
	}
	return q.fetcher.receive(ctx, eg, func(ctx context.Context, data []byte) error {
		return q.apply(ctx, &q.pairs[i], syncer.Delta{Lens: d.Lens, Open: d.Open, Data: data})
	})(d.Data)
}

// apply stages what a delta makes.
func (q *deltaRequest) apply(ctx context.Context, p *pairing, d syncer.Delta) error {
	err := q.codec.Apply(ctx, &p.Pair, d, func(chunks [][]byte) error {
		if _, err := q.w.Put(ctx, chunks...); err != nil || q.take == nil {
			return err
		}
		for i, b := range chunks {
			if err := q.take(p.Target[i], b); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("delta of chunk %s: %w", p.Target[0].Short(), err)
	}
	if q.take == nil {
		q.meter.brought(p.pieces)
	}
	return nil
}
