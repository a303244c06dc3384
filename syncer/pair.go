package syncer

import (
	"encoding/binary"
	"fmt"
	"slices"

	"satchel/store"
	"satchel/store/deflate"
	"satchel/store/delta"
)

// A Pair is a run of chunks, the target, that moves as its difference from a run
// of chunks that both sides hold, the base, and from others that both hold.
type Pair struct {
	Others     []store.ID // chunks from anywhere that hold what the base lacks
	Base       []store.ID // in order; may be empty
	BaseOffset int64      // where in its file the base begins, in bytes
	Target     []store.ID // in order
	Offset     int64      // where in its file the target begins, in bytes
	Sketch     bool       // a sketch will do, where the base lacks much of the target
}

// Limits of a pair. The bytes of its others and its base are together bounded by
// [delta.MaxBase], those of its target by [delta.MaxTarget].
const (
	MaxPairOthers = 256  // chunks
	MaxPairBase   = 4096 // chunks
	MaxPairTarget = 2048 // chunks
)

// Check reports a pair that exceeds its limits, with [ErrTooLarge], or makes no
// sense, with [ErrMalformed].
func (p *Pair) Check() error {
	switch {
	case len(p.Others) > MaxPairOthers || len(p.Base) > MaxPairBase || len(p.Target) > MaxPairTarget:
		return fmt.Errorf("pair of %d, %d and %d chunks: %w", len(p.Others), len(p.Base), len(p.Target), ErrTooLarge)
	case len(p.Target) == 0 || p.BaseOffset < 0 || p.Offset < 0:
		return fmt.Errorf("pair of %d and %d chunks: %w", len(p.Base), len(p.Target), ErrMalformed)
	}
	return nil
}

// Chunks returns how many chunks the pair names.
func (p *Pair) Chunks() int { return len(p.Others) + len(p.Base) + len(p.Target) }

// Sources returns the chunks that the delta of the pair is made from: the others,
// then the base. It must not be changed.
func (p *Pair) Sources() []store.ID {
	if len(p.Others) == 0 {
		return p.Base
	}
	return slices.Concat(p.Others, p.Base)
}

// A Delta is what makes the target of a pair of its base.
type Delta struct {
	Lens []int  // plaintext bytes of the target's chunks
	Open int    // bytes of the target's open form, if that is what Data makes, else 0
	Data []byte // as package delta codes it
}

// MaxDelta is the longest coded delta, in bytes.
const MaxDelta = 2 + 4*MaxPairTarget + 4 + delta.MaxTarget + 1<<10

// isOpen marks the number of chunks of a delta of open forms.
const isOpen = 1 << 15

var le = binary.LittleEndian

// Append appends the delta as it crosses the wire. docs/format/sync.md has the
// bytes.
func (d *Delta) Append(b []byte) []byte {
	n := uint16(len(d.Lens))
	if d.Open > 0 {
		n |= isOpen
	}
	b = le.AppendUint16(b, n)
	for _, n := range d.Lens {
		b = le.AppendUint32(b, uint32(n))
	}
	if d.Open > 0 {
		b = le.AppendUint32(b, uint32(d.Open))
	}
	return append(b, d.Data...)
}

// ParseDelta is the inverse of [Delta.Append]. Data shares memory with b. It
// fails with [ErrMalformed], and with [ErrTooLarge] when the target would be
// larger than one may be.
func ParseDelta(b []byte) (Delta, error) {
	malformed := fmt.Errorf("delta of %d bytes: %w", len(b), ErrMalformed)
	if len(b) < 2 {
		return Delta{}, malformed
	}
	n, open := int(le.Uint16(b)&^isOpen), le.Uint16(b)&isOpen != 0
	if b = b[2:]; len(b) < 4*n || n > MaxPairTarget {
		return Delta{}, malformed
	}
	d := Delta{Lens: make([]int, n)}
	size := 0
	for i := range d.Lens {
		n := le.Uint32(b)
		if n == 0 || n > store.MaxChunk {
			return Delta{}, fmt.Errorf("delta with a chunk of %d bytes: %w", n, ErrMalformed)
		}
		d.Lens[i], b = int(n), b[4:]
		if size += int(n); size > delta.MaxTarget {
			return Delta{}, fmt.Errorf("delta that makes more than %d bytes: %w", delta.MaxTarget, ErrTooLarge)
		}
	}
	if open {
		if len(b) < 4 || le.Uint32(b) == 0 {
			return Delta{}, malformed
		}
		if le.Uint32(b) > deflate.MaxOpen {
			return Delta{}, fmt.Errorf("delta that makes an open form of %d bytes: %w", le.Uint32(b), ErrTooLarge)
		}
		d.Open, b = int(le.Uint32(b)), b[4:]
	}
	d.Data = b
	return d, nil
}

// Size returns the plaintext bytes of the target.
func (d *Delta) Size() (n int) {
	for _, l := range d.Lens {
		n += l
	}
	return n
}

// A Mark is the hash of a few bytes in a row, by which they are found elsewhere.
type Mark uint32

// A Sketch is the marks of a pair's target that its base does not have, each once,
// in order.
type Sketch []Mark

// A sketch has no more marks than MaxMarks. One of fewer than LeastMarks is not
// worth asking again.
const (
	MaxMarks   = 16384
	LeastMarks = 3
)

// Append appends the sketch as it crosses the wire: its marks, 4 bytes each.
func (s Sketch) Append(b []byte) []byte {
	for _, m := range s {
		b = le.AppendUint32(b, uint32(m))
	}
	return b
}

// ParseSketch is the inverse of [Sketch.Append].
func ParseSketch(b []byte) Sketch {
	s := make(Sketch, 0, len(b)/4)
	for ; len(b) >= 4; b = b[4:] {
		s = append(s, Mark(le.Uint32(b)))
	}
	return s
}
