package delta

import (
	"math/bits"
)

// An encoder is the working memory of Encode.
type encoder struct {
	model
	finder
}

// gains are in 1/16 bit
const literalBits = 80

// price estimates the bits of a match, in 1/16 bit.
func (e *encoder) distPrice(dist uint32, i int) int {
	if int(dist) > i-e.baseLen {
		z := zigzag(dist - e.baseDist)
		return 16 * (5 + bits.Len32(z))
	}
	return 16 * (4 + bits.Len32(dist))
}

func lenPrice(n int) int { return 16*3 + 8*bits.Len32(uint32(n)) }

// best finds the match at i that gains most over literals, and enters i.
func (e *encoder) best(i int) (best token, gain int) {
	if i+tail > len(e.buf) {
		return e.bestRep(i)
	}
	best, gain = e.bestRep(i)
	row, tag, long, four, three := e.hashes(i)
	if best.length > 256 {
		e.put(i, row, tag, long, four, three)
		return
	}
	try := func(j int) {
		if best.length > 4 && e.buf[j+best.length-4] != e.buf[i+best.length-4] {
			return
		}
		n := e.matchLen(j, i)
		if n < minMatch {
			return
		}
		dist := uint32(i - j)
		g := n*literalBits - lenPrice(n) - e.distPrice(dist, i)
		if g > gain {
			best, gain = token{n, dist}, g
		}
	}
	if j := int(e.long[long]); j != 0 {
		try(j)
	}
	if best.length < 64 {
		r := &e.rows[row]
		x := uint64(tag) * 0x0101010101010101
		lo := le.Uint64(r.tags[:8]) ^ x
		lo = (lo - 0x0101010101010101) &^ lo & 0x8080808080808080
		for ; lo != 0; lo &= lo - 1 {
			try(int(r.pos[bits.TrailingZeros64(lo)>>3]))
		}
		hi := le.Uint32(r.tags[8:]) ^ uint32(x)
		hi = (hi - 0x01010101) &^ hi & 0x80808080
		for ; hi != 0; hi &= hi - 1 {
			try(int(r.pos[8+bits.TrailingZeros32(hi)>>3]))
		}
		if best.length < 6 {
			if j := int(e.four[four]); j != 0 {
				try(j)
			}
			if j := int(e.three[three]); j != 0 && i-j < 1<<16 {
				try(j)
			}
		}
	}
	e.put(i, row, tag, long, four, three)
	return
}

func (e *encoder) bestRep(i int) (best token, gain int) {
	for k, d := range e.reps {
		j := i - int(d)
		if j < 0 || d == 0 {
			continue
		}
		if n := e.matchLen(j, i); n >= minRep {
			g := n*literalBits - lenPrice(n) - 16*(1+k/2)
			if g > gain {
				best, gain = token{n, d}, g
			}
		}
	}
	return
}

// encode codes the whole target.
func (e *encoder) encode() {
	i := e.baseLen
	if i == 0 {
		i = 1 // place 0 means none in the tables: nothing is lost
		e.literal(0)
	}
	t, gain := token{}, 0
	have := false
	for i < len(e.buf) {
		if !have {
			t, gain = e.best(i)
		}
		have = false
		if gain <= 0 {
			e.literal(i)
			i++
			continue
		}
		if t.length < 128 && i+1 < len(e.buf) {
			t2, gain2 := e.best(i + 1)
			if gain2 > gain+8 {
				e.literal(i)
				i++
				t, gain, have = t2, gain2, true
				continue
			}
			e.matchAt(t, i)
			e.skip(i+2, i+t.length)
			i += t.length
			continue
		}
		e.matchAt(t, i)
		e.skip(i+1, i+t.length)
		i += t.length
	}
}

func (e *encoder) skip(from, to int) {
	step := 1
	if to-from > 256 {
		step = 8
	}
	for ; from < to; from += step {
		e.insert(from)
	}
}

func (e *encoder) matchAt(t token, i int) {
	e.isMatch(e.at(i-1), 1)
	e.codeMatch(t, i, e.baseLen)
	e.run = 0
}

func (e *encoder) at(i int) byte {
	if i < 0 {
		return 0
	}
	return e.buf[i]
}

func (e *encoder) literal(i int) {
	c1 := e.at(i - 1)
	e.isMatch(c1, 0)
	e.lit.code(&e.c, e.buf[i], c1, e.at(i-2), e.at(i-3), e.at(i-int(e.reps[0])), e.run)
	e.run = min(e.run+1, 3)
	e.note(kindLiteral)
}
