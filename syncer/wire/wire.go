// Package wire is the codec of streams, in which chunks and lists of IDs cross
// between device and server. docs/format/sync.md specifies the bytes.
//
// # Vocabulary
//
// A stream is a header and records. A record has a type and a payload. The last
// record of a whole stream is its end, which counts the records before it, or a
// refusal.
//
// # Invariants
//
//   - Every length is bounded by the type of its record before memory is taken
//     for it, and a reader's memory grows only as bytes arrive.
//   - A stream that was cut off is never taken for a whole one.
//   - All that a reader has returned was whole, whatever comes after it.
//
// # The one idea
//
// A stream says itself how it ended. The status of an HTTP answer goes out
// before the body is known to be good; here the last record is the status.
package wire

import (
	"fmt"

	"satchel/store"
	"satchel/store/pack"
	"satchel/syncer"
)

// MediaType is the media type of a stream.
const MediaType = "application/vnd.satchel.stream"

// Type is the type of a record.
type Type uint8

// The types of record.
const (
	IDs Type = iota + 1
	Frame
	Wants
	end
	failure
	Pair
	Delta
	Sketch
)

// MaxFrame is the longest pack frame, in bytes.
const MaxFrame = 20 + 4*pack.MaxFrameChunks + pack.MaxFrameData

const (
	magic      = "SLWS"
	headerLen  = len(magic) + 4
	recordLen  = 1 + 4 // type and length
	idLen      = len(store.ID{})
	maxFailure = 1 << 20               // bytes of a refusal
	pairLen    = 1 + 8 + 8 + 2 + 2 + 2 // of what comes before a pair's IDs
	deltaLen   = 4                     // of what comes before a delta, or a sketch
	markLen    = 4
	bufferLen  = 32 << 10
)

// limits are the most bytes of a payload of each type.
var limits = [...]int{
	IDs:     syncer.MaxIDs * idLen,
	Frame:   MaxFrame,
	Wants:   syncer.MaxIDs / 8,
	end:     4,
	failure: maxFailure,
	Pair:    pairLen + (syncer.MaxPairOthers+syncer.MaxPairBase+syncer.MaxPairTarget)*idLen,
	Delta:   deltaLen + syncer.MaxDelta,
	Sketch:  deltaLen + syncer.MaxMarks*markLen,
}

// check reports a payload that a record of that type may not have.
func (t Type) check(n uint64) error {
	switch {
	case t < IDs || t > Sketch:
		return fmt.Errorf("record of type %d: %w", t, syncer.ErrMalformed)
	case n > uint64(limits[t]):
		return fmt.Errorf("record of type %d and %d bytes, want at most %d: %w", t, n, limits[t], syncer.ErrTooLarge)
	case t == IDs && n%uint64(idLen) != 0, t == end && n != uint64(limits[end]),
		t == Pair && n < pairLen, t == Delta && n < deltaLen,
		t == Sketch && (n < deltaLen || n%markLen != 0):
		return fmt.Errorf("record of type %d and %d bytes: %w", t, n, syncer.ErrMalformed)
	}
	return nil
}

// A Record is one record of a stream. It is valid until the next is read.
type Record struct {
	Type Type
	data []byte
}

// IDs returns the IDs of a record of that type, in memory of their own.
func (r Record) IDs() []store.ID {
	ids := make([]store.ID, len(r.data)/idLen)
	for i := range ids {
		copy(ids[i][:], r.data[i*idLen:])
	}
	return ids
}

// Frame returns the pack frame of a record of that type, valid until the next
// read.
func (r Record) Frame() []byte { return r.data }

// Wants returns the answers of a record of that type for n IDs. It fails with
// [syncer.ErrMalformed] when there are not just as many.
func (r Record) Wants(n int) ([]bool, error) {
	if len(r.data) != (n+7)/8 || n%8 != 0 && r.data[n/8]>>(n%8) != 0 {
		return nil, fmt.Errorf("answer of %d bytes to %d offers: %w", len(r.data), n, syncer.ErrMalformed)
	}
	wants := make([]bool, n)
	for i := range wants {
		wants[i] = r.data[i/8]>>(i%8)&1 != 0
	}
	return wants, nil
}

func appendHeader(b []byte) []byte {
	return le.AppendUint32(append(b, magic...), syncer.Version)
}
