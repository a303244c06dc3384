package delta

import "math/bits"

// An encoder is the working memory of Encode.
type encoder struct {
	model
	finder
	misses  int    // literals since a match
	touched uint32 // keeps loads that are made ahead
}

// What steps are thought to cost, in 1/16 bit, to compare matches by.
const (
	literalPrice = 60
	putOff       = 8   // what a later match must gain more
	lazyLen      = 32  // a match so long is not put off
	goodLen      = 64  // nor is a longer one looked for, beyond the long ones
	maxMisses    = 256 // literals after which only every third place is searched
)

func (e *encoder) distPrice(dist uint32, i int) int {
	if int(dist) > i-e.baseLen {
		return 16 * (5 + bits.Len32(zigzag(dist-e.baseDist)))
	}
	return 16 * (4 + bits.Len32(dist))
}

func lenPrice(n int) int { return 16*3 + 8*bits.Len32(uint32(n)) }

// encode codes the target, of one byte or more.
func (e *encoder) encode() {
	var t token
	var gain int
	known := false // t is the best match at i
	e.misses = 0
	for i, next := e.baseLen, e.baseLen; i < len(e.buf); {
		if i >= next {
			next = e.startBlock(i)
		}
		if !known {
			t, gain = e.best(i)
		}
		known = false
		if gain <= 0 {
			e.putLiteral(i)
			i++
			continue
		}
		searched := i + 1
		if t.length < lazyLen && searched < len(e.buf) {
			later, more := e.best(searched)
			searched++
			if more > gain+putOff && e.extends(later, i) {
				t = token{later.length + 1, later.dist}
			} else if more > gain+putOff {
				e.putLiteral(i)
				i++
				t, gain, known = later, more, true
				continue
			}
		}
		e.misses = 0
		e.isMatch(e.at(i-1), true)
		e.match(t, i, e.baseLen)
		i += t.length
		e.putRange(searched, i)
	}
}

// startBlock codes what kind of block i lies in, and returns where the next
// one begins.
func (e *encoder) startBlock(i int) int {
	first := i - (i-e.baseLen)%blockSize
	b := e.buf[first:min(first+blockSize, len(e.buf))]
	return e.baseLen + e.block(i-e.baseLen, looksRandom(b))
}

// extends tells whether the match t at i+1 holds at i too.
func (e *encoder) extends(t token, i int) bool {
	j := i - int(t.dist)
	return j >= 0 && e.buf[j] == e.buf[i] && (j >= e.baseLen || j+t.length < e.baseLen)
}

func (e *encoder) putLiteral(i int) {
	c1 := e.at(i - 1)
	e.isMatch(c1, false)
	e.literal(e.buf[i], c1, e.at(i-2), e.at(i-int(e.reps[0])))
	e.misses++
}

func (e *encoder) at(i int) byte {
	if i < 0 {
		return 0
	}
	return e.buf[i]
}

// best finds the match at i that gains most over literals, and enters i.
func (e *encoder) best(i int) (token, int) {
	s := search{encoder: e, i: i}
	if e.misses <= maxMisses || i%3 == 0 {
		s.tryReps()
	}
	switch {
	case i+tail > len(e.buf):
	case e.misses > maxMisses && i%3 != 0: // 3, to meet any place of a base indexed by 4
		e.long[e.longHash(i)] = uint32(i)
	case e.plain:
		h := e.longHash(i)
		s.try(int(e.long[h]))
		e.long[h] = uint32(i)
	default:
		h := e.hashes(i)
		s.tryTables(h)
		e.put(i, h)
	}
	return s.best, s.gain
}

// A search is for the best match at a place.
type search struct {
	*encoder
	i    int
	best token
	gain int
}

// tryReps considers the distances that were used just before.
func (s *search) tryReps() {
	for k, d := range s.reps {
		j := s.i - int(d)
		if j < 0 {
			continue
		}
		if n := s.matchLen(j, s.i); n >= minRep {
			s.take(n, d, 16*(1+k/2))
		}
	}
}

// tryTables considers what the tables hold.
func (s *search) tryTables(h hashes) {
	r := &s.rows[h.row]
	x := uint64(h.tag) * 0x0101010101010101
	// These loads miss the processor's cache: have them all under way at once,
	// and those of the next place too.
	lo, hi := le.Uint64(r.tags[:8])^x, le.Uint32(r.tags[8:])^uint32(x)
	long, four, three := int(s.long[h.long]), int(s.four[h.four]), int(s.three[h.three])
	s.touchNext(s.i + 1)

	if s.best.length >= 4*goodLen {
		return
	}
	s.try(long)
	if s.best.length >= goodLen {
		return
	}
	// The high bit of each byte that is 0, and perhaps of the one above it.
	for m := (lo - 0x0101010101010101) &^ lo & 0x8080808080808080; m != 0; m &= m - 1 {
		s.try(int(r.pos[bits.TrailingZeros64(m)/8]))
	}
	for m := (hi - 0x01010101) &^ hi & 0x80808080; m != 0; m &= m - 1 {
		s.try(int(r.pos[8+bits.TrailingZeros32(m)/8]))
	}
	if s.best.length < rowLen+1 {
		s.try(four)
		if s.i-three < 1<<16 {
			s.try(three)
		}
	}
}

// touchNext loads what a search at i, and a literal before it, will need.
func (e *encoder) touchNext(i int) {
	if i+tail > len(e.buf) {
		return
	}
	row, _ := e.rowHash(i)
	e.touched += uint32(e.rows[row].next) + e.long[e.longHash(i)]
	e.touched += uint32(e.lit.order2[e.lit.place(hash2(e.buf[i-1], e.at(i-2)))])
}

// try considers the run at j, if that is not 0.
func (s *search) try(j int) {
	if n := s.best.length; j == 0 || n > 4 && s.buf[j+n-4] != s.buf[s.i+n-4] {
		return
	}
	if n := s.matchLen(j, s.i); n >= minMatch {
		dist := uint32(s.i - j)
		s.take(n, dist, s.distPrice(dist, s.i))
	}
}

// take keeps a match if it gains more than the best so far.
func (s *search) take(n int, dist uint32, price int) {
	if g := n*literalPrice - lenPrice(n) - price; g > s.gain {
		s.best, s.gain = token{n, dist}, g
	}
}

// looksRandom tells by the frequencies of bytes whether a block is such that
// modelling its literals saves little: their chi-squared statistic is about 255
// for random bytes, some hundreds in compressed files, and above 10,000 in
// programs. At the bound at most 1% could be saved.
func looksRandom(b []byte) bool {
	if len(b) < 4096 {
		return false
	}
	var n [256]int
	for _, c := range b {
		n[c]++
	}
	squares := 0
	for _, n := range n {
		squares += n * n
	}
	return squares*256/len(b)-len(b) < 1500
}
