// Package zstd compresses runs of bytes into frames of Zstandard.
//
// It is for runs that are whole in memory and not much longer than a megabyte,
// as the frames of packs are. For those it does what levels 3 and 19 of the
// reference implementation do, and nothing else: no streams, no dictionaries, no
// checksum. What it writes any decoder of Zstandard reads.
//
// # Vocabulary
//
// A sequence is some literals, which are bytes as they are, and a match, which
// copies bytes that came before. A code stands for a range of numbers, and bits
// that follow say which of them.
//
// # The one idea
//
// The run is searched where it lies. Places in it are 32 bits, so that the
// tables of a search stay in a processor's nearest caches.
//
// Source: RFC 8878, "Zstandard Compression and the 'application/zstd' Media
// Type".
package zstd

import (
	"encoding/binary"
	"errors"
	"sync"

	"github.com/klauspost/compress/huff0"
)

var le = binary.LittleEndian

const (
	magic     = 0xFD2FB528
	blockSize = 128 << 10 // the longest that is allowed
	maxSrc    = 64 << 20  // bytes: what is longer is cut into stored blocks
)

// Types of blocks and of literals.
const (
	stored     = 0
	repeated   = 1
	compressed = 2
	treeless   = 3 // literals that take the code of the block before
)

// encoder is the memory of one call, used again by later ones.
type encoder struct {
	finder  finder
	huffman huff0.Scratch
	tables  [3]fseTable // of literal lengths, offsets and match lengths
	codes   [3][]uint8  // of the sequences
}

var encoders = sync.Pool{New: func() any { return new(encoder) }}

// Append appends to dst one frame that holds src. It may be longer than src by a
// few bytes. It may be called from several goroutines at once.
func Append(dst, src []byte) []byte {
	e := encoders.Get().(*encoder)
	defer encoders.Put(e)
	dst = appendHeader(dst, len(src))
	if len(src) == 0 || len(src) > maxSrc {
		return appendStored(dst, src)
	}
	e.finder.reset(src)
	e.huffman.Reuse, e.huffman.WantLogLess = huff0.ReusePolicyNone, 6
	for at := 0; at < len(src); at += blockSize {
		end := min(at+blockSize, len(src))
		dst = e.appendBlock(dst, at, end, end == len(src))
	}
	return dst
}

// appendHeader appends the header of a frame that is one segment of n bytes.
func appendHeader(dst []byte, n int) []byte {
	const single = 1 << 5
	dst = le.AppendUint32(dst, magic)
	switch {
	case n < 256:
		return append(dst, single, byte(n))
	case n < 1<<16+256:
		return le.AppendUint16(append(dst, single|1<<6), uint16(n-256))
	case n < 1<<32:
		return le.AppendUint32(append(dst, single|2<<6), uint32(n))
	}
	return le.AppendUint64(append(dst, single|3<<6), uint64(n))
}

func appendBlockHeader(dst []byte, last bool, kind, n int) []byte {
	h := uint32(kind)<<1 | uint32(n)<<3
	if last {
		h |= 1
	}
	return append(dst, byte(h), byte(h>>8), byte(h>>16))
}

// appendStored appends src in blocks that are not compressed.
func appendStored(dst, src []byte) []byte {
	for {
		n := min(len(src), blockSize)
		dst = append(appendBlockHeader(dst, n == len(src), stored, n), src[:n]...)
		if src = src[n:]; len(src) == 0 {
			return dst
		}
	}
}

// appendBlock appends the block of the bytes from at to end.
func (e *encoder) appendBlock(dst []byte, at, end int, last bool) []byte {
	reps := e.finder.reps
	e.finder.search(at, end)
	dst, ok := e.appendFound(dst, at, end, last)
	if !ok {
		e.finder.reps = reps
	}
	return dst
}

// appendFound appends the block of the sequences and literals that were found for
// the bytes from at to end. It is not ok if those are stored instead, so that a
// decoder learns of no sequence.
func (e *encoder) appendFound(dst []byte, at, end int, last bool) (_ []byte, ok bool) {
	start := len(dst)
	dst = appendBlockHeader(dst, last, compressed, 0)
	dst = e.appendLiterals(dst)
	dst = e.appendSequences(dst)
	n := len(dst) - start - 3
	if n >= end-at {
		e.huffman.Reuse = huff0.ReusePolicyNone
		return append(appendBlockHeader(dst[:start], last, stored, end-at), e.finder.src[at:end]...), false
	}
	appendBlockHeader(dst[:start], last, compressed, n)
	return dst, true
}

// appendLiterals appends the literals of a block, by Huffman's code if that
// makes them shorter.
func (e *encoder) appendLiterals(dst []byte) []byte {
	lits := e.finder.literals
	var out []byte
	reused, err := false, huff0.ErrIncompressible
	streams := 4
	switch {
	case len(lits) >= 1024:
		out, reused, err = huff0.Compress4X(lits, &e.huffman)
	case len(lits) > 32:
		streams = 1
		out, reused, err = huff0.Compress1X(lits, &e.huffman)
	}
	switch {
	case errors.Is(err, huff0.ErrUseRLE):
		return append(appendSize(dst, repeated, len(lits)), lits[0])
	case err != nil:
		return append(appendSize(dst, stored, len(lits)), lits...)
	}
	e.huffman.Reuse = huff0.ReusePolicyAllow
	kind := compressed
	if reused {
		kind = treeless
	}
	return append(appendSizes(dst, kind, streams, len(lits), len(out)), out...)
}

// appendSize appends the header of literals that have no code.
func appendSize(dst []byte, kind, n int) []byte {
	switch {
	case n < 1<<5:
		return append(dst, byte(kind|n<<3))
	case n < 1<<12:
		return le.AppendUint16(dst, uint16(kind|1<<2|n<<4))
	}
	h := kind | 3<<2 | n<<4
	return append(dst, byte(h), byte(h>>8), byte(h>>16))
}

// appendSizes appends the header of n literals that are coded as so many bytes.
func appendSizes(dst []byte, kind, streams, n, coded int) []byte {
	h := func(form, bits int) uint64 { return uint64(kind|form<<2) | uint64(n)<<4 | uint64(coded)<<(4+bits) }
	switch size := max(n, coded); {
	case streams == 1: // fewer than 1,024 of them
		v := h(0, 10)
		return append(dst, byte(v), byte(v>>8), byte(v>>16))
	case size < 1<<10:
		v := h(1, 10)
		return append(dst, byte(v), byte(v>>8), byte(v>>16))
	case size < 1<<14:
		return le.AppendUint32(dst, uint32(h(2, 14)))
	}
	v := h(3, 18)
	return append(le.AppendUint32(dst, uint32(v)), byte(v>>32))
}
