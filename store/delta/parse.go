package delta

import (
	"math"
	"math/bits"
)

// An encoder is the working memory of Encode.
type encoder struct {
	model
	finder
	misses  int    // literals since a match
	barren  bool   // the present block is not searched
	touched uint32 // keeps loads that are made ahead
}

// What steps are thought to cost, in 1/16 bit, to compare matches by.
const (
	literalPrice = 60
	putOff       = 8     // what a later match must gain more
	lazyMatch    = 32    // a match so long is not put off
	lazyRep      = 4     // nor one so long at a distance that was used just before
	goodLen      = 64    // nor is a longer one looked for, beyond the long ones
	leastUneven  = 4096  // bytes of a block that may be other than modelled
	plainBelow   = 3500  // unevenness of blocks whose literals are not: at most 2% could be saved
	barrenBelow  = 20000 // and of those that are searched only if they seem to have matches
	leastRepeat  = 32    // bytes of a match that counts as one
	maxMisses    = 256   // literals after which only every third place is searched
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
			if e.kind == stored {
				e.store(e.buf[i:min(next, len(e.buf))])
				i, known = next, false
				continue
			}
		}
		if e.barren {
			gain = 0
		} else if !known {
			t, gain = e.best(i)
		}
		known = false
		if gain <= 0 {
			e.putLiteral(i)
			i++
			continue
		}
		searched := i + 1
		if t.length < e.lazyLen(t) && searched < len(e.buf) {
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
		e.putRange(searched, i, int(t.dist) > i-e.baseLen)
	}
}

// lazyLen is from which length on a match is not put off for a later one.
func (e *encoder) lazyLen(t token) int {
	if _, rep := e.repOf(t.dist); rep {
		return lazyRep
	}
	return lazyMatch
}

// startBlock codes what kind of block i lies in, and returns where the next one
// begins. It decides whether the block is searched for matches.
func (e *encoder) startBlock(i int) int {
	first := i - (i-e.baseLen)%blockSize
	b := e.buf[first:min(first+blockSize, len(e.buf))]
	kind := modelled
	uneven := unevenness(b)
	e.barren = uneven < barrenBelow && !e.repeats(i, first+len(b))
	if uneven < plainBelow {
		kind = plain
		if e.barren {
			kind = stored
		}
	}
	return e.baseLen + e.block(i-e.baseLen, kind)
}

// repeats tells whether the bytes from i to end have matches. It looks at few
// places, at an odd distance, to meet any place of a base that is indexed, and
// enters those if it finds none.
func (e *encoder) repeats(i, end int) bool {
	const step = 13
	for k := i; k+tail <= end; k += step {
		if j := int(e.long[e.longHash(k)]); j != 0 && e.matchLen(j, k) >= leastRepeat {
			return true
		}
	}
	for k := i; k+tail <= end; k += step {
		e.long[e.longHash(k)] = uint32(k)
	}
	return false
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
	case e.kind == plain:
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
		if j < 0 || s.buf[j] != s.buf[s.i] {
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

// touchNext loads what a search at i will need.
func (e *encoder) touchNext(i int) {
	if i+tail > len(e.buf) {
		return
	}
	row, _ := e.rowHash(i)
	e.touched += uint32(e.rows[row].next) + e.long[e.longHash(i)]
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

// unevenness tells by the frequencies of bytes how much modelling the literals of
// a block can save. It is their chi-squared statistic, of as many bytes as a whole
// block has: about 255 for random bytes, some hundreds to some thousands in
// compressed files, and above 50,000 in programs.
func unevenness(b []byte) int {
	if len(b) < leastUneven {
		return math.MaxInt
	}
	var n [256]int
	for _, c := range b {
		n[c]++
	}
	squares := 0
	for _, n := range n {
		squares += n * n
	}
	return (squares*256/len(b) - len(b)) * blockSize / len(b)
}
