// Package delta codes a run of bytes as its difference from a similar one, such
// as a file of a program as its difference from the version before.
//
// A delta is a series of steps: a literal byte, or a match, which copies bytes
// from the base or from what of the target is there already. What each step is
// gets predicted from those before it, and is coded in as few bits as it was
// likely. Without a base this is plain compression.
//
// It follows LZMA (its specification is part of the 7-zip SDK) in the form of
// its steps, in keeping the last distances, and in its range coder. It differs
// in how it predicts literals, in distances into the base, and in dealing with
// references within programs, for which see Percival, "Naive differences of
// executable code", 2003, and the design of Courgette. The format is specified
// in docs/format/delta-codec.md.
package delta

import (
	"fmt"
	"sync"

	"satchel/store"
	"satchel/store/x86"
)

// Limits, in bytes.
const (
	MaxBase   = 16 << 20
	MaxTarget = 8 << 20
)

// A Span is a run of a file: its bytes, and where in the file they begin.
type Span struct {
	Data   []byte
	Offset int64
}

// The first byte of a delta: how the target is stored.
const (
	methodRaw   = 0 // as it is
	methodSteps = 3 // as steps; 1 and 2 were an earlier form
	methodX86   = 4 // as steps, after references of programs were made addresses
)

var (
	encoders = sync.Pool{New: func() any { return new(encoder) }}
	decoders = sync.Pool{New: func() any { return new(decoder) }}
)

// Encode appends to dst the delta of target from base. The same spans always
// give the same delta, at most one byte longer than the target. Spans beyond
// the limits are stored as they are. It takes up to 56 MiB of memory, which is
// kept for later calls, and may be called from several goroutines at once.
func Encode(dst []byte, base, target Span) []byte {
	start := len(dst)
	if len(target.Data) == 0 || len(target.Data) > MaxTarget || len(base.Data) > MaxBase {
		return appendRaw(dst, target.Data)
	}
	e := encoders.Get().(*encoder)
	defer encoders.Put(e)
	e.load(base.Data, target.Data)
	method := byte(methodSteps)
	if wantsAddresses(target) {
		method = methodX86
		x86.ToAddresses(e.buf[:e.baseLen], base.Offset)
		x86.ToAddresses(e.buf[e.baseLen:], target.Offset)
	}
	e.finder.reset()
	e.model.reset(startDist(base, target.Offset), len(target.Data))
	e.c.reset(false, append(dst, method))
	e.encode()
	out := e.c.finish()
	e.c.out = nil
	if len(out)-start > len(target.Data) {
		return appendRaw(out[:start], target.Data)
	}
	return out
}

func appendRaw(dst, target []byte) []byte {
	return append(append(dst, methodRaw), target...)
}

// load copies base and target to buf.
func (f *finder) load(base, target []byte) {
	if n := len(base) + len(target); cap(f.buf) < n {
		f.buf = make([]byte, n)
	}
	f.buf = append(append(f.buf[:0], base...), target...)
	f.baseLen = len(base)
}

// startDist is the distance between the same offset in the target and in the
// base, or the whole base where that does not reach it, and 0 without a base.
func startDist(base Span, offset int64) uint32 {
	n := int64(len(base.Data))
	d := n - (offset - base.Offset)
	if d <= 0 || d > n {
		d = n
	}
	return uint32(d)
}

// Decode appends to dst the target of a delta that Encode made: size bytes that
// begin at offset in their file. The base must be the same. A delta that does
// not fit gives [store.ErrCorrupt] and dst as it was, but not every wrong delta
// or base does: the caller must check the result by its hash. Beside the result
// it takes up to 8 MiB of memory, which is kept for later calls. It may be
// called from several goroutines at once.
func Decode(dst []byte, base Span, offset int64, size int, delta []byte) ([]byte, error) {
	if len(delta) == 0 || size < 0 {
		return dst, fmt.Errorf("delta of %d bytes for %d: %w", len(delta), size, store.ErrCorrupt)
	}
	method, delta := delta[0], delta[1:]
	switch {
	case method == methodRaw:
		if len(delta) != size {
			return dst, fmt.Errorf("delta holds %d bytes, not %d: %w", len(delta), size, store.ErrCorrupt)
		}
		return append(dst, delta...), nil
	case method != methodSteps && method != methodX86:
		return dst, fmt.Errorf("delta of method %d: %w", method, store.ErrCorrupt)
	case size > MaxTarget || len(base.Data) > MaxBase:
		return dst, fmt.Errorf("delta beyond the limits: %w", store.ErrCorrupt)
	}
	d := decoders.Get().(*decoder)
	defer decoders.Put(d)
	start := len(dst)
	if cap(dst)-start < size {
		dst = append(make([]byte, 0, start+size), dst...)
	}
	out := dst[start : start+size]
	d.base.reset(base, method == methodX86)
	d.reset(startDist(base, offset), size)
	d.c.reset(true, delta)
	ok := d.decode(out) && d.c.pos == len(delta)
	d.base.Data, d.c.in = nil, nil
	if !ok {
		return dst[:start], fmt.Errorf("steps of a delta: %w", store.ErrCorrupt)
	}
	if method == methodX86 {
		x86.ToDistances(out, offset)
	}
	return dst[:start+size], nil
}
