package exchange

import (
	"cmp"
	"context"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"satchel/layers"
	"satchel/store/delta"
	"satchel/store/disk"
	"satchel/syncer"
)

// Limits of what is looked for elsewhere. More moves without.
const (
	mostSketched = 64 << 20 // bytes of targets
	mostOthers   = 8 << 20  // bytes of the others of a pair
	slackOthers  = 1 << 20  // bytes of those beyond 16 times the target
)

// refer looks through an older version, which both ends hold, for what the bases
// of pairs lack, and makes the chunks that have it others of those pairs.
func refer(ctx context.Context, st *disk.Store, pairs []pairing, older, newer layers.Version, mode Deltas) error {
	each := int64(perMark)
	if mode != Always {
		each = perMarkNow
	}
	s := newSearch(st, pairs, each)
	if len(s.marks) == 0 {
		return nil
	}
	if err := s.version(ctx, older, newer); err != nil {
		return err
	}
	for i := range pairs {
		s.choose(&pairs[i])
	}
	return nil
}

// choose gives a pair others: again and again the chunk that holds most of those
// marks of its sketch that none before it holds.
func (s *search) choose(p *pairing) {
	count := map[int]int{} // of marks, by chunk
	for _, m := range p.sketch {
		for _, c := range s.marks[m] {
			count[c]++
		}
	}
	type other struct{ chunk, first int } // first is of the marks that it is for
	var others []other
	room := min(mostOthers, delta.MaxBase-p.base, 16*p.size+slackOthers)
	done := make([]bool, len(p.sketch))
	for len(others) < syncer.MaxPairOthers {
		best := -1
		for c, n := range count {
			if n > 0 && s.chunks[c].len <= room && (best < 0 || n > count[best] || n == count[best] && c < best) {
				best = c
			}
		}
		if best < 0 {
			break
		}
		others = append(others, other{best, s.cover(p.sketch, best, done, count)})
		room -= s.chunks[best].len
	}
	// In the order in which they are needed, so that distances change little.
	slices.SortFunc(others, func(a, b other) int { return cmp.Compare(a.first, b.first) })
	for _, o := range others {
		p.Others = append(p.Others, s.chunks[o.chunk].id)
	}
}

// cover notes that a chunk holds marks of a sketch, and returns the first that was
// not done before.
func (s *search) cover(sketch syncer.Sketch, chunk int, done []bool, count map[int]int) (first int) {
	first = len(sketch)
	for i, m := range sketch {
		at := s.marks[m]
		if done[i] || !slices.Contains(at, chunk) {
			continue
		}
		done[i] = true
		first = min(first, i)
		for _, c := range at {
			count[c]--
		}
	}
	return first
}

// sketch has all pairs of contents tell what their bases lack.
func (p *pusher) sketch(ctx context.Context, pairs []pairing) error {
	if _, size := sizeOf(pairs); size > mostSketched {
		return nil
	}
	eg, ctx := errgroup.WithContext(ctx)
	eg.SetLimit(runtime.GOMAXPROCS(0))
	for i := range pairs {
		if !pairs[i].contents {
			continue
		}
		eg.Go(func() error {
			var err error
			pairs[i].sketch, err = p.codec.Sketch(ctx, &pairs[i].Pair)
			return err
		})
	}
	return eg.Wait()
}
