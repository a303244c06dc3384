package syncer

import (
	"fmt"

	"satchel/store"
	"satchel/store/delta"
)

// A Pair is a run of a file's chunks, the target, that moves as its difference
// from a run of chunks that both sides hold, the base.
type Pair struct {
	Base       []store.ID // in order; may be empty
	BaseOffset int64      // where in its file the base begins, in bytes
	Target     []store.ID // in order
	Lens       []int      // plaintext bytes of the target's chunks
	Offset     int64      // where in its file the target begins, in bytes
}

// Limits of a pair. The bytes of its base are bounded by [delta.MaxBase].
const (
	MaxPairBase   = 4096 // chunks
	MaxPairTarget = 2048 // chunks
)

// Size returns the plaintext bytes of the target.
func (p *Pair) Size() int {
	n := 0
	for _, l := range p.Lens {
		n += l
	}
	return n
}

// Check reports a pair that exceeds its limits, with [ErrTooLarge], or makes no
// sense, with [ErrMalformed].
func (p *Pair) Check() error {
	switch {
	case len(p.Base) > MaxPairBase || len(p.Target) > MaxPairTarget:
		return fmt.Errorf("pair of %d and %d chunks: %w", len(p.Base), len(p.Target), ErrTooLarge)
	case len(p.Target) == 0 || len(p.Target) != len(p.Lens) || p.BaseOffset < 0 || p.Offset < 0:
		return fmt.Errorf("pair of %d chunks: %w", len(p.Target), ErrMalformed)
	}
	size := 0
	for _, l := range p.Lens {
		if l <= 0 || l > store.MaxChunk {
			return fmt.Errorf("pair with a chunk of %d bytes: %w", l, ErrMalformed)
		}
		if size += l; size > delta.MaxTarget {
			return fmt.Errorf("pair of more than %d bytes: %w", delta.MaxTarget, ErrTooLarge)
		}
	}
	return nil
}
