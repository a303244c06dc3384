package deflate

// A closer closes one stream after the other.
type closer struct {
	in  []byte
	out bitWriter
	bad bool // in has ended too early

	literals, dists *code // of the block
	own             [2]code
}

// A code is the codes of symbols and their lengths.
type code struct {
	codes [288]uint16
	lens  [288]byte
}

func (c *code) fill(lens []byte) bool {
	clear(c.lens[:])
	copy(c.lens[:], lens)
	return codesOf(lens, c.codes[:len(lens)])
}

// next takes the next byte.
func (c *closer) next() byte {
	if len(c.in) == 0 {
		c.bad = true
		return 0
	}
	b := c.in[0]
	c.in = c.in[1:]
	return b
}

// stream closes the stream that comes next.
func (c *closer) stream() (ok bool) {
	for last := false; !last; {
		head := c.next()
		last = head&1 != 0
		c.out.put(uint32(head&7), 3)
		c.literals, c.dists = &c.own[0], &c.own[1]
		switch head >> 1 {
		case storedBlock:
			ok = c.stored()
		case fixedBlock:
			c.literals, c.dists = &fixedCodes[0], &fixedCodes[1]
			ok = c.steps()
		case ownCodes:
			ok = c.readCodes() && c.steps()
		default:
			ok = false
		}
		if !ok || c.bad || len(c.out.b) > c.out.most {
			return false
		}
	}
	c.out.align()
	return true
}

func (c *closer) stored() bool {
	if len(c.in) < 2 || len(c.in)-2 < int(le.Uint16(c.in)) {
		return false
	}
	n := le.Uint16(c.in)
	c.out.align()
	c.out.b = le.AppendUint16(le.AppendUint16(c.out.b, n), ^n)
	c.out.b = append(c.out.b, c.in[2:2+int(n)]...)
	c.in = c.in[2+int(n):]
	return true
}

// readCodes closes the codes of a block.
func (c *closer) readCodes() bool {
	literals, dists, n := int(c.next())+257, int(c.next())+1, int(c.next())+4
	if literals > allLiterals || dists > allDists || n > len(lengthOrder) {
		return false
	}
	c.out.put(uint32(literals-257), 5)
	c.out.put(uint32(dists-1), 5)
	c.out.put(uint32(n-4), 4)
	var lens [19]byte
	for i := range n {
		lens[lengthOrder[i]] = c.next() & 7
		c.out.put(uint32(lens[lengthOrder[i]]), 3)
	}
	if !c.literals.fill(lens[:]) {
		return false
	}
	var l lengthList
	for len(l.lens) < literals+dists && !c.bad {
		symbol, extra := int(c.next()), byte(0)
		if symbol >= len(lens) || !c.out.symbol(c.literals, symbol) {
			return false
		}
		if symbol >= 16 {
			extra = c.next() & (1<<extraBits(symbol) - 1)
			c.out.put(uint32(extra), extraBits(symbol))
		}
		if !l.add(symbol, extra, literals+dists) {
			return false
		}
	}
	return !c.bad && c.literals.fill(l.lens[:literals]) && c.dists.fill(l.lens[literals:])
}

// steps closes the literals and copies of a block.
func (c *closer) steps() bool {
	for !c.bad && len(c.out.b) <= c.out.most {
		head := c.next()
		switch {
		case head == 0:
			return c.out.symbol(c.literals, endOfBlock)
		case head < 0x80:
			if int(head) > len(c.in) {
				return false
			}
			for _, b := range c.in[:head] {
				if !c.out.symbol(c.literals, int(b)) {
					return false
				}
			}
			c.in = c.in[head:]
		default:
			dist, length := int(head&0x7f)<<8|int(c.next()), int(c.next())+3
			if !c.out.span(c.literals, firstLength, lengths[:], length) || !c.out.span(c.dists, 0, dists[:], dist+1) {
				return false
			}
		}
	}
	return false
}

// A bitWriter writes bits, the lowest of each byte first.
type bitWriter struct {
	b    []byte
	most int // bytes that b should have; it may have a few more
	bits uint64
	n    uint // bits that are in bits
}

func (w *bitWriter) put(v uint32, n uint) {
	w.bits |= uint64(v) << w.n
	for w.n += n; w.n >= 8; w.n -= 8 {
		w.b = append(w.b, byte(w.bits))
		w.bits >>= 8
	}
}

// symbol writes a symbol, unless the code has none for it.
func (w *bitWriter) symbol(c *code, s int) bool {
	w.put(uint32(c.codes[s]), uint(c.lens[s]))
	return c.lens[s] > 0
}

// span writes a number as a symbol, counted from first, and the bits that follow.
func (w *bitWriter) span(c *code, first int, spans []span, n int) bool {
	i := symbolOf(spans, n)
	ok := w.symbol(c, first+i)
	w.put(uint32(n-spans[i].first), spans[i].extra)
	return ok
}

// align fills up the last byte with zeros.
func (w *bitWriter) align() {
	if w.n > 0 {
		w.put(0, 8-w.n)
	}
}
