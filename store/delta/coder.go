package delta

// A coder is a binary arithmetic coder, in either direction: bit takes a bit
// and writes it, or reads one and returns it. So what is coded, and how it is
// modelled, is written once for both.
//
// Source: the range coder of the LZMA specification (7-zip SDK), after
// Martin, "Range encoding", 1979. Carries are propagated through a run of
// 0xff bytes when they are known.
type coder struct {
	decoding bool
	rng      uint32

	// Encoding.
	low   uint64
	cache byte // the last byte that a carry may still change
	run   int  // 0xff bytes after it
	first bool // no byte yet: the first cache is not written
	out   []byte

	// Decoding.
	code uint32
	in   []byte
	pos  int // may run past in: then the input was cut short
}

// reset makes the coder write after dst, or read in.
func (c *coder) reset(decoding bool, buf []byte) {
	*c = coder{decoding: decoding, rng: 1<<32 - 1}
	if !decoding {
		c.out, c.first = buf, true
		return
	}
	c.in = buf
	for range 4 {
		c.code = c.code<<8 | uint32(c.next())
	}
}

// next returns the next byte of input, and zeros after its end.
func (c *coder) next() byte {
	c.pos++
	if c.pos > len(c.in) {
		return 0
	}
	return c.in[c.pos-1]
}

// bit codes one bit, whose chance to be 1 is p/65536, 0 < p < 65536.
func (c *coder) bit(p uint32, bit int) int {
	bound := uint32(uint64(c.rng) * uint64(p) >> 16)
	if c.decoding {
		if c.code < bound {
			c.rng, bit = bound, 1
		} else {
			c.code, c.rng, bit = c.code-bound, c.rng-bound, 0
		}
		for c.rng < 1<<24 {
			c.rng <<= 8
			c.code = c.code<<8 | uint32(c.next())
		}
		return bit
	}
	if bit != 0 {
		c.rng = bound
	} else {
		c.low += uint64(bound)
		c.rng -= bound
	}
	for c.rng < 1<<24 {
		c.rng <<= 8
		c.shift()
	}
	return bit
}

// bits codes n <= 16 bits that are as likely as not to be 1.
func (c *coder) bits(n uint, v uint32) uint32 {
	c.rng >>= n
	if c.decoding {
		v = min(c.code/c.rng, 1<<n-1)
		c.code -= v * c.rng
		for c.rng < 1<<24 {
			c.rng <<= 8
			c.code = c.code<<8 | uint32(c.next())
		}
		return v
	}
	c.low += uint64(v) * uint64(c.rng)
	for c.rng < 1<<24 {
		c.rng <<= 8
		c.shift()
	}
	return v
}

// shift moves the highest byte of low to the output.
func (c *coder) shift() {
	if c.low < 0xff000000 || c.low >= 1<<32 {
		carry := byte(c.low >> 32)
		if !c.first {
			c.out = append(c.out, c.cache+carry)
		}
		c.first = false
		for ; c.run > 0; c.run-- {
			c.out = append(c.out, 0xff+carry)
		}
		c.cache = byte(c.low >> 24)
	} else {
		c.run++
	}
	c.low = c.low & 0x00ffffff << 8
}

// finish writes what is pending and returns the output.
func (c *coder) finish() []byte {
	for range 5 {
		c.shift()
	}
	return c.out
}
