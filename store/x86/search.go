package x86

import "math/bits"

// area is how many bytes are searched at once, and most how many operands can
// begin for them: an opcode and its operand have five bytes at least.
const (
	area = 4096
	most = area/5 + 1
)

// places are those of operands.
type places [most]int

// operands finds operands of references whose opcodes begin at from or later, as
// Next does, but many at once. The search goes on at next, or is over when that is
// len(b). Those found may be changed before it does.
func operands(b []byte, from int, at *places) (n, next int) {
	if vectors && len(b)-from >= area+2+Size {
		return operandsOf(b, from, at)
	}
	for next = Next(b, from); next < len(b); next = Next(b, from) {
		at[n] = next
		n++
		if from = next + Size; n == len(at) {
			return n, from
		}
	}
	return n, len(b)
}

// operandsOf finds those of one area. It knows all opcodes before it takes the
// first, so that the processor need not guess which byte is one.
func operandsOf(b []byte, from int, at *places) (n, next int) {
	var found [area / 64]uint64
	scan(&found, (*[area + 1]byte)(b[from:]), &sets)
	next = from
	for i, m := range found {
		base := from + 64*i
		if next > base {
			m &= ^uint64(0) << (next - base) // not within an operand
		}
		for m != 0 {
			p := base + bits.TrailingZeros64(m)
			p++
			p += int(^(first[b[p-1]] & second[b[p]]) & call) // others have two bytes
			at[n] = p
			n++
			next = p + Size
			m &= ^uint64(0) << (next - base)
		}
	}
	return n, max(next, from+area)
}

// sets hold the bytes that may be first of an instruction with a relative operand:
// for each lower half the upper halves below 8 as bits, the same from 8 on, and
// the bit of each upper half.
var sets = func() (s [3][16]byte) {
	for c, k := range first {
		if k&data != 0 {
			s[c>>7][c&15] |= 1 << (c >> 4 & 7)
		}
	}
	for h := range s[2] {
		s[2][h] = 1 << (h & 7)
	}
	return s
}()
