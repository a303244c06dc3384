package delta

// limit is the range of addresses: a power of two.
const limit = 1 << 28

// operand returns where the operand of a reference at i begins, or 0.
func operand(b []byte, i int) int {
	switch c := b[i]; {
	case c&0xfe == 0xe8:
		return i + 1
	case c == 0x0f && b[i+1]&0xf0 == 0x80:
		return i + 2
	case b[i+1]&0xc7 == 0x05 && ripOpcode[c]:
		return i + 2
	}
	return 0
}

var ripOpcode = func() (t [256]bool) {
	for _, c := range []byte{0x8B, 0x8D, 0x89, 0x3B, 0x39, 0x83, 0x80, 0xC7, 0xC6, 0x63, 0x03, 0x2B, 0x0F, 0x10, 0x11, 0x28, 0x6F, 0x6E, 0x7E, 0x58, 0x59, 0x54, 0x57, 0xFF, 0xB6, 0xB7, 0xDB, 0xEF, 0xEB, 0xD6, 0xF6, 0x85, 0x38, 0x3A, 0x8A, 0x88} {
		t[c] = true
	}
	return
}()

func transform(b []byte, offset int64) {
	for i := 0; i+6 <= len(b); {
		at := operand(b, i)
		if at == 0 {
			i++
			continue
		}
		pc := int32((offset + int64(at) + 4) & (limit - 1))
		d := int32(le.Uint32(b[at:]))
		switch {
		case d >= -pc && d < limit-pc:
			d += pc
		case d >= limit-pc && d < limit:
			d -= limit
		}
		b[at], b[at+1], b[at+2], b[at+3] = byte(d>>24), byte(d>>16), byte(d>>8), byte(d)
		i = at + 4
	}
}

func untransform(b []byte, offset int64) {
	for i := 0; i+6 <= len(b); {
		at := operand(b, i)
		if at == 0 {
			i++
			continue
		}
		pc := int32((offset + int64(at) + 4) & (limit - 1))
		d := int32(b[at])<<24 | int32(b[at+1])<<16 | int32(b[at+2])<<8 | int32(b[at+3])
		switch {
		case d >= 0 && d < limit:
			d -= pc
		case d >= -pc && d < 0:
			d += limit
		}
		le.PutUint32(b[at:], uint32(d))
		i = at + 4
	}
}

// wantsX86 tells by the operands of calls whether they repeat more often as
// addresses than as they are.
func wantsX86(t Span) bool {
	var abs, rel [1 << 12]uint32
	na, nr, n := 0, 0, 0
	b := t.Data
	for i := 0; i+6 <= len(b); i++ {
		if b[i] != 0xe8 {
			continue
		}
		n++
		d := le.Uint32(b[i+1:])
		a := d + uint32(t.Offset+int64(i)+5)
		if d == 0 {
			continue
		}
		if h := d * 0x9e3779b1 >> 20; rel[h] == d {
			nr++
		} else {
			rel[h] = d
		}
		if h := a * 0x9e3779b1 >> 20; abs[h] == a {
			na++
		} else {
			abs[h] = a
		}
	}
	return na > nr+nr/4+4
}
