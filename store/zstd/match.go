package zstd

import (
	"math/bits"
	"slices"
)

const (
	// The tables of a search have 2^longBits and 2^shortBits entries. An entry is
	// a place, and more bits of the hash, which spare most looks at the place.
	longBits  = 17
	shortBits = 16
	placeBits = 20
	tagBits   = 32 - placeBits

	longPrime  = 0xCF1BBCDCB7A56463                     // any odd number without a pattern
	shortPrime = 0x9E3779B185EBCA87 << 24 & (1<<64 - 1) // the same; five bytes count

	minMatch = 3 // of the format
	tail     = 8 // bytes at the end of a block where no match begins

	// After 2^skipBits bytes without a match every second place is tried, and so on.
	skipBits = 7
)

// A sequence is literals and a match.
type sequence struct {
	literals uint32 // how many
	length   uint32 // of the match, less minMatch
	offset   uint32 // as the format has it: 1 for one of the last two distances, else the distance and 3
}

// A finder finds sequences in a run.
type finder struct {
	src       []byte
	reps      [2]int // the last two distances
	literals  []byte
	sequences []sequence
	origin    int // of places in the tables, and how far back a match may reach
	long      [1 << longBits]uint32
	short     [1 << shortBits]uint32
}

// reset prepares for another run.
func (f *finder) reset(src []byte) {
	f.src, f.reps = src, [2]int{1, 4}
	f.forget(0)
}

// forget makes the tables empty and counts places in them from origin.
func (f *finder) forget(origin int) {
	clear(f.long[:])
	clear(f.short[:])
	f.origin = origin
}

// swapLong enters place i for the eight bytes v and returns what was there: an
// entry for the same bytes, as far as the tags tell, if [same] says so of the two.
func (f *finder) swapLong(v uint64, i int) (old, e uint32) {
	h := v * longPrime
	e = uint32(h>>(64-longBits-tagBits))<<placeBits | uint32(i)
	p := &f.long[h>>(64-longBits)]
	old = *p
	*p = e
	return old, e
}

// swapShort is swapLong for the first five of the bytes.
func (f *finder) swapShort(v uint64, i int) (old, e uint32) {
	h := v * shortPrime
	e = uint32(h>>(64-shortBits-tagBits))<<placeBits | uint32(i)
	p := &f.short[h>>(64-shortBits)]
	old = *p
	*p = e
	return old, e
}

// same reports whether two entries have one tag. The older one may be of an empty table: it
// leads to the first place, which is as good as any to look at.
func same(old, e uint32) bool { return old^e < 1<<placeBits }

func place(e uint32) int { return int(e & (1<<placeBits - 1)) }

// search finds the sequences of the bytes from at to end, and the literals that
// are in none. At each place it takes the match that continues the last one, or
// one of eight bytes or more, or a shorter one.
func (f *finder) search(at, end int) {
	f.literals, f.sequences = slices.Grow(f.literals[:0], end-at+wide), f.sequences[:0]
	if end-f.origin > 1<<placeBits {
		f.forget(at)
	}
	src, at := f.src[f.origin:end], at-f.origin
	anchor, limit := at, len(src)-tail
	rep, rep2 := f.reps[0], f.reps[1]
	for i := max(at, 1); i < limit; {
		v := load64(src, i)
		long, e := f.swapLong(v, i)
		short, e2 := f.swapShort(v, i)
		var m, n int // the match: where, how long
		switch {
		case rep <= i && load32(src, i+1-rep) == uint32(v>>8):
			i++
			n = 4 + matchLength(src, i+4, i+4-rep)
			f.add(src, anchor, i, n, 1)
			goto matched
		case same(long, e) && load64(src, place(long)) == v:
			m = place(long)
			n = 8 + matchLength(src, i+8, m+8)
		case same(short, e2) && load32(src, place(short)) == uint32(v):
			w := load64(src, i+1)
			if next, e := f.swapLong(w, i+1); same(next, e) && load64(src, place(next)) == w {
				i++
				m = place(next)
				n = 8 + matchLength(src, i+8, m+8)
			} else {
				m = place(short)
				n = 4 + matchLength(src, i+4, m+4)
			}
		default:
			i += 1 + (i-anchor)>>skipBits
			continue
		}
		for i > anchor && m > 0 && src[i-1] == src[m-1] {
			i, m, n = i-1, m-1, n+1
		}
		rep, rep2 = i-m, rep
		f.add(src, anchor, i, n, rep+minMatch)
	matched:
		i += n
		if i < limit {
			f.enter(src, i-n+2, i-2)
			// Matches without literals between, at the last distance but one.
			for i < limit && rep2 <= i {
				v := load64(src, i)
				if uint32(v) != load32(src, i-rep2) {
					break
				}
				f.swapLong(v, i)
				f.swapShort(v, i)
				n := 4 + matchLength(src, i+4, i+4-rep2)
				f.add(src, i, i, n, 1)
				rep, rep2 = rep2, rep
				i += n
			}
		}
		anchor = i
	}
	f.reps = [2]int{rep, rep2}
	f.literals = append(f.literals, src[anchor:]...)
}

// enter enters places within a match: a near its start, b near its end.
func (f *finder) enter(src []byte, a, b int) {
	v, w := load64(src, a), load64(src, b)
	f.swapLong(v, a)
	f.swapShort(v, a)
	f.swapLong(w, b)
	f.swapShort(w>>8, b+1)
}

// wide is how many literals are copied at once. Most runs are shorter.
const wide = 16

// add adds a sequence: the bytes from anchor to i, and a match of n bytes. There
// is room for so many literals, and wide more.
func (f *finder) add(src []byte, anchor, i, n, offset int) {
	f.sequences = append(f.sequences, sequence{uint32(i - anchor), uint32(n - minMatch), uint32(offset)})
	k := len(f.literals)
	if i-anchor > wide || anchor+wide > len(src) {
		f.literals = append(f.literals, src[anchor:i]...)
		return
	}
	to, from := f.literals[k:k+wide], src[anchor:anchor+wide]
	le.PutUint64(to, le.Uint64(from))
	le.PutUint64(to[8:], le.Uint64(from[8:]))
	f.literals = f.literals[:k+i-anchor]
}

// matchLength returns how many bytes from i and from m on are equal. m < i.
func matchLength(b []byte, i, m int) int {
	n := 0
	for i+n+8 <= len(b) {
		if x := load64(b, i+n) ^ load64(b, m+n); x != 0 {
			return n + bits.TrailingZeros64(x)>>3
		}
		n += 8
	}
	for i+n < len(b) && b[i+n] == b[m+n] {
		n++
	}
	return n
}

// load64 and load32 return the eight or four bytes at i. Sliced so, their bounds are
// checked once and nothing else is kept of them.
func load64(b []byte, i int) uint64 { return le.Uint64(b[i : i+8 : len(b)]) }
func load32(b []byte, i int) uint32 { return le.Uint32(b[i : i+4 : len(b)]) }
