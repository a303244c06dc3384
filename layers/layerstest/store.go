// Package layerstest helps to test what works on trees: a store in memory,
// random trees, and a directory of everything that a file system can hold.
package layerstest

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"satchel/store"
	"satchel/store/chunk"
)

// A Store keeps chunks in memory. It implements [store.Getter], [store.Haser]
// and [store.Putter], and counts what is asked of it.
type Store struct {
	domain chunk.Domain

	mu     sync.Mutex
	chunks map[store.ID][]byte
	gets   int
	puts   int // chunks, new or not
}

// NewStore returns an empty store in a domain that is always the same, with
// small chunks: 1 to 8 KiB, 2 KiB on average.
func NewStore() *Store {
	d := chunk.Domain{Polynomial: 0x3DA3358B4DC173, Min: 1 << 10, Max: 8 << 10, AverageBits: 10}
	copy(d.Key[:], "key of the domain of layerstest.")
	return &Store{domain: d, chunks: map[store.ID][]byte{}}
}

// Domain returns the domain of the store's chunks.
func (s *Store) Domain() chunk.Domain { return s.domain }

// Get implements [store.Getter].
func (s *Store) Get(ctx context.Context, id store.ID) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gets++
	b, ok := s.chunks[id]
	if !ok {
		return nil, fmt.Errorf("chunk %s: %w", id.Short(), store.ErrNotExist)
	}
	return b, nil
}

// Has implements [store.Haser].
func (s *Store) Has(_ context.Context, ids []store.ID) ([]bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	has := make([]bool, len(ids))
	for i, id := range ids {
		_, has[i] = s.chunks[id]
	}
	return has, nil
}

// Put implements [store.Putter].
func (s *Store) Put(ctx context.Context, data ...[]byte) ([]store.ID, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ids := make([]store.ID, len(data))
	for i, b := range data {
		if len(b) == 0 || len(b) > store.MaxChunk {
			return nil, fmt.Errorf("chunk of %d bytes: want 1 to %d", len(b), store.MaxChunk)
		}
		ids[i] = s.domain.ID(b)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.puts += len(data)
	for i, id := range ids {
		if _, ok := s.chunks[id]; !ok {
			s.chunks[id] = slices.Clone(data[i])
		}
	}
	return ids, nil
}

// Remove forgets a chunk.
func (s *Store) Remove(id store.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.chunks, id)
}

// IDs returns the IDs of all chunks, ordered.
func (s *Store) IDs() []store.ID {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := make([]store.ID, 0, len(s.chunks))
	for id := range s.chunks {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b store.ID) int { return slices.Compare(a[:], b[:]) })
	return ids
}

// Gets counts the chunks that were asked for.
func (s *Store) Gets() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gets
}

// Puts counts the chunks that were put, new or not.
func (s *Store) Puts() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.puts
}
