package delta

import (
	"math/bits"

	"satchel/store/x86"
)

// When code moves, all operands that refer to it by distance change, though
// what they refer to is the same. So before matching, what looks like such an
// operand is turned into an address; see package x86.

// A view shows a run as x86.ToAddresses would leave it, without a copy.
type view struct {
	Span
	marks []uint64 // a bit for each byte: an operand begins there
}

// reset shows a run, with its operands as addresses if turned is set.
func (v *view) reset(s Span, turned bool) {
	v.Span = s
	v.marks = clearTable(v.marks, (len(s.Data)+63)/64)
	if !turned {
		return
	}
	for at := x86.Next(s.Data, 0); at < len(s.Data); at = x86.Next(s.Data, at+x86.Size) {
		v.marks[at>>6] |= 1 << (at & 63)
	}
}

// read fills out with what is shown at j.
func (v *view) read(out []byte, j int) {
	end := j + copy(out, v.Data[j:])
	for at := v.mark(max(j-3, 0), end); at < end; at = v.mark(at+4, end) {
		d := x86.Address(le.Uint32(v.Data[at:]), v.Offset, at)
		for k := max(at, j); k < min(at+4, end); k++ {
			out[k-j] = byte(d >> (24 - 8*(k-at)))
		}
	}
}

// mark returns the first place from at on where an operand begins, or end.
func (v *view) mark(at, end int) int {
	for at < end {
		if w := v.marks[at>>6] >> (at & 63); w != 0 {
			return at + bits.TrailingZeros64(w)
		}
		at = (at | 63) + 1
	}
	return end
}

// wantsAddresses tells whether the operands of what looks like a call repeat
// more often as addresses than as they are.
func wantsAddresses(s Span) bool {
	const hashBits = 12
	var turned, plain [1 << hashBits]uint32
	repeats := func(t *[1 << hashBits]uint32, v uint32) int {
		h := v * hashFactor >> (32 - hashBits)
		if t[h] == v {
			return 1
		}
		t[h] = v
		return 0
	}
	n, m := 0, 0
	for i := 0; i+6 <= len(s.Data); i++ {
		if s.Data[i] != 0xe8 {
			continue
		}
		if d := le.Uint32(s.Data[i+1:]); d != 0 {
			n += repeats(&turned, d+uint32(s.Offset)+uint32(i+5))
			m += repeats(&plain, d)
		}
	}
	return n > m+m/4+4
}
