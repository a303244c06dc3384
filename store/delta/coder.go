package delta

// A coder is an arithmetic coder, in either direction: what codes a value takes
// it and writes it, or reads one and returns it. So what is coded, and how it is
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

// skip leaves out the lower n of the range.
func (c *coder) skip(n uint32) {
	if c.decoding {
		c.code -= n
	} else {
		c.low += uint64(n)
	}
}

// bits codes n <= 16 bits that are as likely as not to be 1.
func (c *coder) bits(n uint, v uint32) uint32 {
	c.rng >>= n
	if c.decoding {
		v = min(c.code/c.rng, 1<<n-1)
	}
	c.skip(v * c.rng)
	if c.rng < 1<<24 {
		c.normalise()
	}
	return v
}

// symbol codes v, below 16. The chances of smaller values than 0 to 15, in
// 1/65536, lie in the halves of the words of below, the lower half first.
func (c *coder) symbol(v uint32, below *[8]uint64) uint32 {
	c.rng >>= 16
	if c.decoding {
		// Counts the values that are not above what was coded.
		const top = 1<<63 | 1<<31
		x := uint64(min(c.code/c.rng, 1<<16-1))*(1<<32+1) | top
		n := (x-below[0])&top>>31 + (x-below[1])&top>>31 + (x-below[2])&top>>31 + (x-below[3])&top>>31 +
			(x-below[4])&top>>31 + (x-below[5])&top>>31 + (x-below[6])&top>>31 + (x-below[7])&top>>31
		v = uint32(n+n>>32) - 1
	}
	v &= 15
	lo := uint32(below[v>>1] >> (v & 1 << 5))
	hi := uint32(below[(v+1)>>1&7] >> ((v + 1) & 1 << 5))
	if v == 15 {
		hi = 1 << 16
	}
	c.skip(lo * c.rng)
	c.rng *= hi - lo
	if c.rng < 1<<24 {
		c.normalise()
	}
	return v
}

// normalise moves bytes until the range is large again.
func (c *coder) normalise() {
	for c.rng < 1<<24 {
		c.rng <<= 8
		if !c.decoding {
			c.shift()
			continue
		}
		c.code <<= 8
		if c.pos < len(c.in) {
			c.code |= uint32(c.in[c.pos])
		}
		c.pos++
	}
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
