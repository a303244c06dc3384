package delta

import (
	"math/bits"
)

// Programs for x86-64 refer to code and data by distance from the instruction.
// When code moves, all such operands change, though what they refer to is the
// same. So before matching, the operands of what looks like a call, a jump or
// an access relative to the instruction are turned into addresses, highest byte
// first: references to one place become equal. Any bytes can be turned and
// turned back; it does not matter whether they are instructions.
//
// Source: the BCJ filters of xz, and the E8 translation of Microsoft's cabinet
// format for the exchange of values that keeps it one to one.

// addresses is how many addresses there are: a power of two.
const addresses = 1 << 28

// operand returns where the four-byte operand of a reference whose opcode is
// at i begins, or 0. It looks only at bytes before that. i+6 <= len(b).
func operand(b []byte, i int) int {
	switch c := b[i]; {
	case c&0xfe == 0xe8: // call, jmp
		return i + 1
	case c == 0x0f && b[i+1]&0xf0 == 0x80: // jcc
		return i + 2
	case b[i+1]&0xc7 == 0x05 && relative[c]: // an operand [rip+x]
		return i + 2
	}
	return 0
}

// relative holds the last opcode bytes of the frequent instructions that can
// have such an operand.
var relative = func() (t [256]bool) {
	for _, c := range []byte{
		0x03, 0x0f, 0x10, 0x11, 0x28, 0x2b, 0x38, 0x39, 0x3a, 0x3b, 0x54, 0x57,
		0x58, 0x59, 0x63, 0x6e, 0x6f, 0x7e, 0x80, 0x83, 0x85, 0x88, 0x89, 0x8a,
		0x8b, 0x8d, 0xb6, 0xb7, 0xc6, 0xc7, 0xd6, 0xdb, 0xeb, 0xef, 0xf6, 0xff,
	} {
		t[c] = true
	}
	return
}()

// address turns a distance from pc into an address if it is within range.
// Other values change places with those, so that no two become the same.
func address(d, pc int32) int32 {
	switch {
	case d >= -pc && d < addresses-pc:
		return d + pc
	case d >= addresses-pc && d < addresses:
		return d - addresses
	}
	return d
}

// distance is the inverse of address.
func distance(a, pc int32) int32 {
	switch {
	case a >= 0 && a < addresses:
		return a - pc
	case a >= -pc && a < 0:
		return a + addresses
	}
	return a
}

// pcAfter returns the address after an operand at place at of a run.
func pcAfter(offset int64, at int) int32 {
	return int32((offset + int64(at) + 4) & (addresses - 1))
}

// toAddresses turns the operands in a run that begins at offset.
func toAddresses(b []byte, offset int64) {
	for i := 0; i+6 <= len(b); {
		at := operand(b, i)
		if at == 0 {
			i++
			continue
		}
		d := address(int32(le.Uint32(b[at:])), pcAfter(offset, at))
		be.PutUint32(b[at:], uint32(d))
		i = at + 4
	}
}

// toDistances is the inverse of toAddresses.
func toDistances(b []byte, offset int64) {
	for i := 0; i+6 <= len(b); {
		at := operand(b, i)
		if at == 0 {
			i++
			continue
		}
		d := distance(int32(be.Uint32(b[at:])), pcAfter(offset, at))
		le.PutUint32(b[at:], uint32(d))
		i = at + 4
	}
}

// A view shows a run as toAddresses would leave it, without a copy.
type view struct {
	Span
	marks []uint64 // a bit for each byte: an operand begins there
}

// reset shows a run, with its operands turned if x86 is set.
func (v *view) reset(s Span, x86 bool) {
	v.Span = s
	v.marks = clearTable(v.marks, (len(s.Data)+63)/64)
	if !x86 {
		return
	}
	for i := 0; i+6 <= len(s.Data); {
		at := operand(s.Data, i)
		if at == 0 {
			i++
			continue
		}
		v.marks[at>>6] |= 1 << (at & 63)
		i = at + 4
	}
}

// read fills out with what is shown at j.
func (v *view) read(out []byte, j int) {
	end := j + copy(out, v.Data[j:])
	for at := v.mark(max(j-3, 0), end); at < end; at = v.mark(at+4, end) {
		d := address(int32(le.Uint32(v.Data[at:])), pcAfter(v.Offset, at))
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
			n += repeats(&turned, d+uint32(pcAfter(s.Offset, i+1)))
			m += repeats(&plain, d)
		}
	}
	return n > m+m/4+4
}
