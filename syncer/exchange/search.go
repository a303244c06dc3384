package exchange

import (
	"context"
	"errors"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"satchel/layers"
	"satchel/layers/manifest"
	"satchel/store"
	"satchel/store/disk"
	"satchel/syncer"
	"satchel/syncer/deltas"
)

// Limits of a search.
const (
	markPlaces = 8       // chunks that are remembered to hold a mark
	readAhead  = 256     // chunks that are read together
	perMark    = 1 << 20 // bytes of older files that are read for each mark
	perMarkNow = 1 << 17 // and where the line may be fast
)

// A search goes through older contents for marks, and remembers where they are.
type search struct {
	st     *disk.Store
	marks  map[syncer.Mark][]int // indexes in chunks
	chunks []place               // that hold any
	seen   idSet
	left   int64   // bytes that may still be read
	ahead  []place // to be read together
}

// newSearch returns a search for the marks of pairs, for each of which it may
// read so many bytes.
func newSearch(st *disk.Store, pairs []pairing, perMark int64) *search {
	s := &search{st: st, marks: map[syncer.Mark][]int{}, seen: idSet{}}
	for i := range pairs {
		for _, m := range pairs[i].sketch {
			s.marks[m] = nil
		}
	}
	s.left = int64(len(s.marks)) * perMark
	return s
}

// version looks through the trees of an older version: first what the newer one
// does not have, since what moved within a file is there, then the rest.
func (s *search) version(ctx context.Context, older, newer layers.Version) error {
	for _, roots := range [][2]layers.Root{{newer.Tree, older.Tree}, {newer.Base, older.Base}, {{}, older.Tree}, {{}, older.Base}} {
		for c, err := range manifest.Diff(ctx, s.st, roots[0], roots[1]) {
			if err != nil {
				return err
			}
			if c.To == nil || c.To.Type != layers.Regular {
				continue
			}
			for _, p := range placesOf(c.To) {
				if s.seen.has(p.id) {
					continue
				}
				if s.left -= int64(p.len); s.left < 0 {
					return s.read(ctx)
				}
				s.seen.add(p.id)
				if s.ahead = append(s.ahead, p); len(s.ahead) == readAhead {
					if err := s.read(ctx); err != nil {
						return err
					}
				}
			}
		}
	}
	return s.read(ctx)
}

// read reads the chunks that are ahead. One that is damaged is none to build on,
// and no hindrance.
func (s *search) read(ctx context.Context) error {
	ids := make([]store.ID, len(s.ahead))
	for i, p := range s.ahead {
		ids[i] = p.id
	}
	if err := s.st.Locate(ctx, ids); err != nil {
		return err
	}
	found := make([][]syncer.Mark, len(ids))
	eg, inner := errgroup.WithContext(ctx)
	eg.SetLimit(runtime.GOMAXPROCS(0))
	for i, id := range ids {
		eg.Go(func() error {
			b, err := s.st.Get(inner, id)
			if errors.Is(err, store.ErrCorrupt) || errors.Is(err, store.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			deltas.Marks(b, func(m syncer.Mark) {
				if _, ok := s.marks[m]; ok {
					found[i] = append(found[i], m)
				}
			})
			return nil
		})
	}
	if err := eg.Wait(); err != nil {
		return err
	}
	for i, marks := range found {
		s.note(s.ahead[i], marks)
	}
	s.ahead = s.ahead[:0]
	return nil
}

// note notes the marks that a chunk holds.
func (s *search) note(p place, marks []syncer.Mark) {
	if len(marks) == 0 {
		return
	}
	n := len(s.chunks)
	s.chunks = append(s.chunks, p)
	for _, m := range marks {
		if at := s.marks[m]; len(at) < markPlaces && !slices.Contains(at, n) {
			s.marks[m] = append(at, n)
		}
	}
}
