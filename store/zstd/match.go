package zstd

import "math/bits"

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
	origin    int // what places are counted from in the tables
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

// swapLong enters place i for the eight bytes v and returns the place that was
// there, or -1 if that was one for other bytes, by the tag.
func (f *finder) swapLong(v uint64, i int) int {
	h := v * longPrime
	e := uint32(h>>(64-longBits-tagBits))<<placeBits | uint32(i-f.origin)
	p := &f.long[h>>(64-longBits)]
	old := *p
	*p = e
	if (old^e)>>placeBits != 0 {
		return -1
	}
	return f.origin + int(old&(1<<placeBits-1))
}

// swapShort is swapLong for the first five of the bytes.
func (f *finder) swapShort(v uint64, i int) int {
	h := v * shortPrime
	e := uint32(h>>(64-shortBits-tagBits))<<placeBits | uint32(i-f.origin)
	p := &f.short[h>>(64-shortBits)]
	old := *p
	*p = e
	if (old^e)>>placeBits != 0 {
		return -1
	}
	return f.origin + int(old&(1<<placeBits-1))
}

// search finds the sequences of the bytes from at to end, and the literals that
// are in none. At each place it takes the match that continues the last one, or
// one of eight bytes or more, or a shorter one.
func (f *finder) search(at, end int) {
	f.literals, f.sequences = f.literals[:0], f.sequences[:0]
	if end-f.origin > 1<<placeBits {
		f.forget(at)
	}
	src := f.src[:end]
	anchor, limit := at, end-tail
	for i := max(at, 1); i < limit; {
		v := le.Uint64(src[i:])
		long, short := f.swapLong(v, i), f.swapShort(v, i)
		rep := f.reps[0]
		m, n, offset := -1, 0, 1 // the match: where, unless at the last distance; how long
		switch {
		case rep <= i && le.Uint32(src[i+1-rep:]) == uint32(v>>8):
			i++
			n = 4 + matchLength(src, i+4, i+4-rep)
		case uint(long) < uint(i) && le.Uint64(src[long:]) == v:
			m, n = long, 8+matchLength(src, i+8, long+8)
		case uint(short) < uint(i) && le.Uint32(src[short:]) == uint32(v):
			w := le.Uint64(src[i+1:])
			if next := f.swapLong(w, i+1); uint(next) < uint(i) && le.Uint64(src[next:]) == w {
				i++
				m, n = next, 8+matchLength(src, i+8, next+8)
			} else {
				m, n = short, 4+matchLength(src, i+4, short+4)
			}
		default:
			i += 1 + (i-anchor)>>skipBits
			continue
		}
		if m >= 0 {
			for i > anchor && m > 0 && src[i-1] == src[m-1] {
				i, m, n = i-1, m-1, n+1
			}
			offset = i - m + minMatch
			f.reps = [2]int{i - m, rep}
		}
		f.add(anchor, i, n, offset)
		i += n
		if i < limit {
			f.enter(src, i-n+2, i-2)
			i = f.repeat(src, i, limit)
		}
		anchor = i
	}
	f.literals = append(f.literals, src[anchor:]...)
}

// repeat adds the sequences without literals at i whose match is at the last
// distance but one, and returns where they end.
func (f *finder) repeat(src []byte, i, limit int) int {
	for i < limit {
		rep := f.reps[1]
		if rep > i || le.Uint32(src[i:]) != le.Uint32(src[i-rep:]) {
			break
		}
		v := le.Uint64(src[i:])
		f.swapLong(v, i)
		f.swapShort(v, i)
		n := 4 + matchLength(src, i+4, i+4-rep)
		f.add(i, i, n, 1)
		f.reps[0], f.reps[1] = rep, f.reps[0]
		i += n
	}
	return i
}

// enter enters places within a match: a near its start, b near its end.
func (f *finder) enter(src []byte, a, b int) {
	v, w := le.Uint64(src[a:]), le.Uint64(src[b:])
	f.swapLong(v, a)
	f.swapShort(v, a)
	f.swapLong(w, b)
	f.swapShort(w>>8, b+1)
}

// add adds a sequence: the bytes from anchor to i, and a match of n bytes.
func (f *finder) add(anchor, i, n, offset int) {
	f.addLiterals(anchor, i)
	f.sequences = append(f.sequences, sequence{uint32(i - anchor), uint32(n - minMatch), uint32(offset)})
}

// addLiterals adds the bytes from at to end. Most runs are short, and then
// quicker copied as if they had sixteen bytes.
func (f *finder) addLiterals(at, end int) {
	n := len(f.literals)
	if end-at > 16 || at+16 > len(f.src) || n+16 > cap(f.literals) {
		f.literals = append(f.literals, f.src[at:end]...)
		return
	}
	to, from := f.literals[n:n+16], f.src[at:at+16]
	le.PutUint64(to, le.Uint64(from))
	le.PutUint64(to[8:], le.Uint64(from[8:]))
	f.literals = f.literals[:n+end-at]
}

// matchLength returns how many bytes from i and from m on are equal. m < i.
func matchLength(b []byte, i, m int) int {
	n := 0
	for i+n+8 <= len(b) {
		if x := le.Uint64(b[i+n:]) ^ le.Uint64(b[m+n:]); x != 0 {
			return n + bits.TrailingZeros64(x)>>3
		}
		n += 8
	}
	for i+n < len(b) && b[i+n] == b[m+n] {
		n++
	}
	return n
}
