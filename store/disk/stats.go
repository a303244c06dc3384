package disk

import (
	"context"
	"os"
	"path/filepath"
)

// Stats tells how much a store holds.
type Stats struct {
	Layers      int64 `json:"layers"`
	Chunks      int64 `json:"chunks"`
	Packs       int64 `json:"packs"`
	UniqueBytes int64 `json:"unique_bytes"` // plaintext bytes of all chunks
	StoredBytes int64 `json:"stored_bytes"` // bytes of all packs
	IndexBytes  int64 `json:"index_bytes"`  // bytes of the index
	Condemned   int64 `json:"condemned"`    // chunks that gc will remove
	Leases      int64 `json:"leases"`       // processes that write, or hold versions

	packed int64 // plaintext bytes of what is in the packs, live or not
}

// Ratio is how many bytes on disk one byte of plaintext takes: what the packs
// take of what is in them. A store that holds too little to tell compresses to
// a half.
func (s *Stats) Ratio() float64 {
	const enough = 1 << 20 // bytes of plaintext
	if s.packed < enough {
		return 0.5
	}
	return min(float64(s.StoredBytes)/float64(s.packed), 1)
}

// Stats adds up what the store holds. It goes through the index, not the
// packs.
func (s *Store) Stats(ctx context.Context) (Stats, error) {
	state, err := s.heads.State(ctx)
	if err != nil {
		return Stats{}, err
	}
	c, err := s.index.Counts(ctx)
	if err != nil {
		return Stats{}, err
	}
	info, err := os.Stat(filepath.Join(s.dir, indexName))
	if err != nil {
		return Stats{}, err
	}
	return Stats{
		Layers:      int64(len(state.Heads)),
		Chunks:      c.Chunks,
		Packs:       c.Packs,
		UniqueBytes: c.Bytes,
		StoredBytes: c.Stored,
		IndexBytes:  info.Size(),
		Condemned:   c.Condemned,
		Leases:      int64(len(state.Leases)),
		packed:      c.Packed,
	}, nil
}
