package disk

import (
	"context"
	"errors"
	"fmt"

	"satchel/store"
)

// Evict gives up the trees and contents of versions, of which the records stay:
// they are partial from then on, and the next gc removes what only they need.
// Versions that a head is at, that a live lease reads from, or that keep names
// are passed over; it returns the others. Keep is asked as [Store.GC] asks it,
// while no lease can begin, and so must not use the heads.
func (s *Store) Evict(ctx context.Context, versions map[store.ID]store.LayerID, keep ...func() ([]store.ID, error)) ([]store.ID, error) {
	evicted, err := s.heads.Evict(ctx, versions, func() ([]store.ID, error) { return askAll(keep) })
	if err != nil {
		return nil, fmt.Errorf("evict: %w", err)
	}
	return evicted, nil
}

// A Scale tells how many bytes on disk chunks take, and adds up how much walks
// reach, each chunk once. Chunks of one pack count as if they were compressed
// alike. The first walk takes some 32 bytes of memory for each chunk of the store.
type Scale struct {
	store *Store
	marks *marks             // nil before the first walk
	packs map[string]float64 // bytes on disk of a byte of plaintext, by pack
	rest  int64              // bytes on disk that no walk has reached and that can be freed
}

// Scale returns a scale for what the store holds now.
func (s *Store) Scale(ctx context.Context) (*Scale, error) {
	uses, err := s.index.Uses(ctx)
	if err != nil {
		return nil, err
	}
	scale := &Scale{store: s, packs: make(map[string]float64, len(uses))}
	for _, u := range uses {
		scale.packs[u.Name] = float64(u.Size) / float64(max(u.Bytes, 1))
		scale.rest += u.Size
		if !isSparse(u, dense) { // what is dead in it stays there
			scale.rest -= int64(float64(u.Bytes-u.Live) * scale.packs[u.Name])
		}
	}
	return scale, nil
}

// Weigh tells how many bytes on disk, about, chunks take. Those that are not
// there take none.
func (s *Scale) Weigh(ctx context.Context, ids []store.ID) (int64, error) {
	entries, err := s.store.index.Lookup(ctx, ids)
	if err != nil {
		return 0, err
	}
	var bytes float64
	for _, e := range entries {
		if e.Found {
			bytes += float64(e.Len) * s.packs[e.Pack]
		}
	}
	return int64(bytes), nil
}

// Add makes a walk from a root and returns how many bytes on disk, about, the
// chunks take that no walk before it has reached. The root itself is walked from
// even if it was reached.
func (s *Scale) Add(ctx context.Context, walk store.Walker, root store.ID) (bytes int64, err error) {
	if s.marks == nil {
		candidates, err := s.store.index.Candidates(ctx)
		if err != nil {
			return 0, err
		}
		s.marks = newMarks(candidates)
	}
	var pending []store.ID
	var failed error
	flush := func() {
		n, err := s.Weigh(ctx, pending)
		if err != nil {
			failed = err
		}
		bytes += n
		pending = pending[:0]
	}
	err = walk(ctx, root, func(id store.ID) bool {
		fresh := s.marks.visit(id)
		if fresh {
			if pending = append(pending, id); len(pending) == reachPage {
				flush()
			}
		}
		return failed == nil && (fresh || id == root)
	})
	flush()
	s.rest -= bytes
	return bytes, errors.Join(err, failed)
}

// Rest is how many bytes on disk, about, [Store.Shrink] frees when it keeps what
// the walks have reached.
func (s *Scale) Rest() int64 { return max(s.rest, 0) }
