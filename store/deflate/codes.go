package deflate

import "math/bits"

// The codes of deflate.
//
// Source: RFC 1951.
const (
	maxLen      = 15  // bits of a code
	endOfBlock  = 256 // the symbol
	firstLength = 257 // the symbol of the shortest copy
	allLiterals = 286 // symbols for literals, the end, and lengths
	allDists    = 30
)

// lengthOrder is the order in which the lengths of the codes for lengths come.
var lengthOrder = [19]int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// A span is the numbers that a symbol stands for: first and those after it, told
// by so many more bits.
type span struct {
	first int
	extra uint
}

// lengths and dists are the spans of copies. Length 258 has a symbol of its own.
var lengths, dists = func() (l [29]span, d [allDists]span) {
	at := 3
	for i := range l {
		l[i] = span{at, uint(max(i/4-1, 0))}
		at += 1 << l[i].extra
	}
	l[28] = span{258, 0}
	at = 1
	for i := range d {
		d[i] = span{at, uint(max(i/2-1, 0))}
		at += 1 << d[i].extra
	}
	return l, d
}()

// symbolOf returns the symbol of a number, among spans in order.
func symbolOf(spans []span, n int) int {
	low, high := 0, len(spans)-1
	for low < high {
		if mid := (low + high + 1) / 2; spans[mid].first <= n {
			low = mid
		} else {
			high = mid - 1
		}
	}
	return low
}

// firstCodes returns the first code of each length. It reports false where more
// bits are given out than there are, or fewer, but for a code of one symbol or
// none.
func firstCodes(lens []byte) (next [maxLen + 1]uint32, ok bool) {
	var count [maxLen + 1]uint32
	used := uint32(0)
	for _, n := range lens {
		if n > 0 {
			count[n]++
			used++
		}
	}
	code := uint32(0)
	for n := 1; n <= maxLen; n++ {
		next[n] = code
		if code += count[n]; code > 1<<n {
			return next, false
		}
		code <<= 1
	}
	return next, code == 1<<(maxLen+1) || used <= 1
}

// codesOf returns the code of each symbol, the bit that comes first lowest.
func codesOf(lens []byte, codes []uint16) bool {
	next, ok := firstCodes(lens)
	for i, n := range lens {
		if n > 0 {
			codes[i] = bits.Reverse16(uint16(next[n])) >> (16 - n)
			next[n]++
		}
	}
	return ok
}

// A table finds symbols by the bits that come. An entry is a symbol, and in its low 4 bits the
// length of its code; 0 is none.
type table struct {
	bits    uint
	entries [1 << maxLen]uint16
}

// fill prepares for a code.
func (t *table) fill(lens []byte) bool {
	var codes [allLiterals + 2]uint16
	if !codesOf(lens, codes[:len(lens)]) {
		return false
	}
	t.bits = 1
	for _, n := range lens {
		t.bits = max(t.bits, uint(n))
	}
	clear(t.entries[:1<<t.bits])
	for i, n := range lens {
		if n == 0 {
			continue
		}
		for at := int(codes[i]); at < 1<<t.bits; at += 1 << n {
			t.entries[at] = uint16(i<<4) | uint16(n)
		}
	}
	return true
}

// fixedCodes and fixedTables are for the codes that need not be told: of literals
// and of distances.
var fixedCodes, fixedTables = func() (c [2]code, t [2]table) {
	var l [288]byte
	var d [32]byte
	for i := range l {
		switch {
		case i < 144:
			l[i] = 8
		case i < 256:
			l[i] = 9
		case i < 280:
			l[i] = 7
		default:
			l[i] = 8
		}
	}
	for i := range d {
		d[i] = 5
	}
	c[0].fill(l[:])
	c[1].fill(d[:])
	t[0].fill(l[:])
	t[1].fill(d[:])
	return c, t
}()
