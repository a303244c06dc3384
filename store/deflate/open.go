package deflate

// What kinds of block there are.
const (
	storedBlock = iota
	fixedBlock
	ownCodes
)

// An opener opens one stream after the other.
type opener struct {
	out    []byte
	most   int // bytes that out may have
	blocks int // that may still be looked at
	in     bitReader

	literals, dists *table // of the block
	own             [2]table
	run             int // where in out the length of the last run of literals is; 0: none
}

// stream opens the stream that b begins with, and returns its length in bytes. It
// returns false, and how many bytes were read, where b does not begin with a
// stream that closes to the same bits.
func (o *opener) stream(b []byte) (n int, ok bool) {
	o.in = bitReader{b: b}
	for last := false; !last; {
		if o.blocks--; o.blocks < 0 {
			return o.in.used(), false
		}
		head := o.in.take(3)
		last = head&1 != 0
		o.literals, o.dists = &o.own[0], &o.own[1]
		o.out = append(o.out, byte(head))
		switch head >> 1 {
		case storedBlock:
			ok = o.stored()
		case fixedBlock:
			o.literals, o.dists = &fixedTables[0], &fixedTables[1]
			ok = o.steps()
		case ownCodes:
			ok = o.codes() && o.steps()
		default:
			ok = false
		}
		if !ok || o.in.short || len(o.out) > o.most {
			return o.in.used(), false
		}
	}
	ok = o.in.align()
	return o.in.pos, ok
}

// stored opens a block that is not compressed.
func (o *opener) stored() bool {
	if !o.in.align() {
		return false
	}
	b := o.in.b[o.in.pos:]
	if len(b) < 4 || le.Uint16(b) != ^le.Uint16(b[2:]) || len(b) < 4+int(le.Uint16(b)) {
		return false
	}
	n := int(le.Uint16(b))
	o.out = append(append(o.out, b[:2]...), b[4:4+n]...)
	o.in.pos += 4 + n
	return true
}

// codes opens the codes of a block.
func (o *opener) codes() bool {
	literals, dists, n := int(o.in.take(5))+257, int(o.in.take(5))+1, int(o.in.take(4))+4
	if literals > allLiterals || dists > allDists {
		return false
	}
	o.out = append(o.out, byte(literals-257), byte(dists-1), byte(n-4))
	var lens [19]byte
	for i := range n {
		lens[lengthOrder[i]] = byte(o.in.take(3))
		o.out = append(o.out, lens[lengthOrder[i]])
	}
	if !o.literals.fill(lens[:]) {
		return false
	}
	var l lengthList
	for len(l.lens) < literals+dists {
		symbol, ok := o.in.symbol(o.literals)
		if !ok {
			return false
		}
		extra := byte(o.in.take(extraBits(symbol)))
		o.out = append(o.out, byte(symbol))
		if symbol >= 16 {
			o.out = append(o.out, extra)
		}
		if !l.add(symbol, extra, literals+dists) {
			return false
		}
	}
	return l.lens[endOfBlock] > 0 && o.literals.fill(l.lens[:literals]) && o.dists.fill(l.lens[literals:])
}

// steps opens the literals and copies of a block.
func (o *opener) steps() bool {
	o.run = 0
	for len(o.out) <= o.most && !o.in.short {
		symbol, ok := o.in.symbol(o.literals)
		switch {
		case !ok:
			return false
		case symbol < endOfBlock:
			o.literal(byte(symbol))
			continue
		case symbol == endOfBlock:
			o.out = append(o.out, 0)
			return true
		case symbol-firstLength >= len(lengths):
			return false
		}
		l := lengths[symbol-firstLength]
		length := l.first + int(o.in.take(l.extra))
		symbol, ok = o.in.symbol(o.dists)
		if !ok || symbol >= allDists || length == 258 && l.extra > 0 {
			return false // a copy of 258 has two forms
		}
		d := dists[symbol]
		dist := d.first + int(o.in.take(d.extra)) - 1
		o.out = append(o.out, byte(dist>>8)|0x80, byte(dist), byte(length-3))
		o.run = 0
	}
	return false
}

// literal puts out a literal, in one run with those before it.
func (o *opener) literal(c byte) {
	if o.run == 0 || o.out[o.run] == 0x7f {
		o.run = len(o.out)
		o.out = append(o.out, 0)
	}
	o.out[o.run]++
	o.out = append(o.out, c)
}

// A lengthList is the lengths of codes as far as they are known.
type lengthList struct{ lens []byte }

// extraBits returns how many bits follow a symbol for lengths.
func extraBits(symbol int) uint {
	switch symbol {
	case 16:
		return 2
	case 17:
		return 3
	case 18:
		return 7
	}
	return 0
}

// add adds what a symbol and the bits after it stand for, unless that is more than
// there are.
func (l *lengthList) add(symbol int, extra byte, most int) bool {
	n, length := 1, byte(symbol)
	switch symbol {
	case 16:
		if len(l.lens) == 0 {
			return false
		}
		n, length = 3+int(extra), l.lens[len(l.lens)-1]
	case 17:
		n, length = 3+int(extra), 0
	case 18:
		n, length = 11+int(extra), 0
	}
	if len(l.lens)+n > most {
		return false
	}
	for range n {
		l.lens = append(l.lens, length)
	}
	return true
}

// A bitReader reads bits, the lowest of each byte first.
type bitReader struct {
	b     []byte
	pos   int // of the next byte
	bits  uint64
	n     uint // bits that are in bits
	short bool // more was taken than there was
}

// used returns how many bytes were taken, the last of them perhaps in part.
func (r *bitReader) used() int { return min(r.pos-int(r.n/8), len(r.b)) }

// need has n bits or more at hand, zeros after the end.
func (r *bitReader) need(n uint) {
	for r.n < n {
		if r.pos < len(r.b) {
			r.bits |= uint64(r.b[r.pos]) << r.n
		}
		r.pos++
		r.n += 8
	}
}

func (r *bitReader) drop(n uint) {
	r.bits >>= n
	r.n -= n
	if r.pos-int(r.n/8) > len(r.b) {
		r.short = true
	}
}

// take returns the next n bits.
func (r *bitReader) take(n uint) uint32 {
	r.need(n)
	v := uint32(r.bits & (1<<n - 1))
	r.drop(n)
	return v
}

// symbol returns the next symbol of a code.
func (r *bitReader) symbol(t *table) (int, bool) {
	r.need(maxLen)
	e := t.entries[r.bits&(1<<t.bits-1)]
	r.drop(uint(e & 15))
	return int(e >> 4), e != 0
}

// align goes to the next whole byte, and reports whether all bits before it were 0.
func (r *bitReader) align() bool {
	ok := r.take(r.n%8) == 0
	r.pos -= int(r.n / 8)
	r.bits, r.n = 0, 0
	return ok && !r.short
}
