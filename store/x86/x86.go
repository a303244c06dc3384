// Package x86 turns references within programs for x86-64 from distances into
// addresses, and back.
//
// Such programs refer to code and data by distance from the instruction, so
// that two references to one place differ, and all change when code moves. As
// addresses, highest byte first, references to one place are equal, which is
// what a compressor or a delta can use.
//
// The one idea: what looks like a reference is taken for one. Any bytes can be
// turned and turned back; it does not matter whether they are instructions.
//
// Source: the BCJ filters of xz, and the E8 translation of Microsoft's cabinet
// format for the exchange of values that keeps it one to one.
package x86

import "encoding/binary"

var (
	le = binary.LittleEndian
	be = binary.BigEndian
)

// Size is how many bytes the operand of a reference has.
const Size = 4

// addresses is how many addresses there are: a power of two.
const addresses = 1 << 28

// What two bytes that follow one another may be the opcode of, as bits.
const (
	call = 1 << iota // call and jmp, whatever the second byte is
	jcc              // a conditional jump
	data             // an instruction with a relative operand
)

// first and second hold, for each value of a byte, of what it may be the first
// or the second of two bytes. Of instructions with a relative operand these are
// the last byte of the frequent ones' opcodes, and the one that says that the
// operand is relative.
var first, second = func() (first, second [256]uint8) {
	for _, c := range []byte{
		0x03, 0x0f, 0x10, 0x11, 0x28, 0x2b, 0x38, 0x39, 0x3a, 0x3b, 0x54, 0x57,
		0x58, 0x59, 0x63, 0x6e, 0x6f, 0x7e, 0x80, 0x83, 0x85, 0x88, 0x89, 0x8a,
		0x8b, 0x8d, 0xb6, 0xb7, 0xc6, 0xc7, 0xd6, 0xdb, 0xeb, 0xef, 0xf6, 0xff,
	} {
		first[c] = data
	}
	first[0xe8], first[0xe9] = call, call
	first[0x0f] |= jcc
	for c := range second {
		second[c] = call
		switch {
		case c&0xf0 == 0x80:
			second[c] |= jcc
		case c&0xc7 == 0x05:
			second[c] |= data
		}
	}
	return first, second
}()

// Next returns where the first operand of a reference whose opcode is at from
// or later begins, or len(b) if there is none. It looks only at bytes that lie
// before the operand, so turning that changes nothing about where it is. The
// search goes on after the operand. In the last five bytes of b no reference
// begins.
func Next(b []byte, from int) int {
	for i := from; i+6 <= len(b); i++ {
		switch first[b[i]] & second[b[i+1]] {
		case 0:
		case call:
			return i + 1
		default:
			return i + 2
		}
	}
	return len(b)
}

// Address turns the distance d of a reference into an address, if it is within
// range. The operand begins at place at of a run that begins at offset. Other
// values change places with those, so that no two become the same.
func Address(d uint32, offset int64, at int) uint32 {
	return uint32(address(int32(d), pcAfter(offset, at)))
}

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
	d := a // without branches, as it is hardly known beforehand what an operand is
	if uint32(a+pc) < uint32(pc) {
		d = a + addresses
	}
	if uint32(a) < addresses {
		d = a - pc
	}
	return d
}

// pcAfter returns the address after an operand at place at of a run.
func pcAfter(offset int64, at int) int32 {
	return int32((offset + int64(at) + Size) & (addresses - 1))
}

// ToAddresses turns the operands in a run that begins at offset.
func ToAddresses(b []byte, offset int64) {
	var at places
	for from := 0; from < len(b); {
		n, next := operands(b, from, &at)
		for _, i := range at[:n] {
			be.PutUint32(b[i:], Address(le.Uint32(b[i:]), offset, i))
		}
		from = next
	}
}

// ToDistances is the inverse of ToAddresses.
func ToDistances(b []byte, offset int64) {
	var at places
	for from := 0; from < len(b); {
		n, next := operands(b, from, &at)
		for _, i := range at[:n] {
			le.PutUint32(b[i:], uint32(distance(int32(be.Uint32(b[i:])), pcAfter(offset, i))))
		}
		from = next
	}
}
