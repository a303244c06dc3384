package delta

import "math/bits"

const (
	minOrder2 = 8  // bits of the number of models by two bytes
	maxOrder2 = 17 // and at most
	maxRun    = 3  // literals since a match, as far as they are counted
)

// literals predicts literals, a half of a byte at a time, by several models at
// once: from the byte before, from the two before, and from the byte at the last
// distance, which in changed code is often right or nearly so.
type literals struct {
	order1 []nibble // for each byte one for the high half, and by that one for the low half
	order2 []nibble // by a hash of two bytes and, for the low half, the high one
	like   []nibble // as order1, by the byte at the last distance and the run
	mask   uint32   // of numbers in order2
	// By run; whether it is the high half, the low one, or the low one when the
	// high one was as in the byte at the last distance; and how much order2 knows.
	mix     [maxRun + 1][3][5]weights
	touched uint64 // keeps loads that are made ahead
}

// reset prepares for a target of size bytes.
func (l *literals) reset(size int) {
	n := min(max(bitLen(uint32(size)), minOrder2), maxOrder2)
	l.mask = 1<<n - 1
	l.order1 = evenNibbles(l.order1, 256*17)
	l.order2 = evenNibbles(l.order2, 1<<n)
	l.like = evenNibbles(l.like, (maxRun+1)*256*17)
	for i := range l.mix {
		for k := range l.mix[i] {
			for n := range l.mix[i][k] {
				l.mix[i][k][n] = weights{allWeights / 3, allWeights / 3, allWeights / 3}
			}
		}
	}
}

// hash2 hashes two bytes.
func hash2(c1, c2 byte) uint32 { return (uint32(c1)<<8 | uint32(c2)) * hashFactor }

// place returns the model of a hash in order2.
func (l *literals) place(h uint32) *nibble { return &l.order2[h>>11&l.mask] }

// code codes a byte v after c1, and c2 before that. like is the byte at the
// last distance, and run how many literals there were since a match.
func (l *literals) code(c *coder, v, c1, c2, like byte, run uint32) byte {
	order1 := l.order1[int(c1)*17:][:17]
	likes := l.like[(int(run)<<8|int(like))*17:][:17]
	mix := &l.mix[run]
	h := hash2(c1, c2)
	order2 := l.place(h)
	hi := codeMixed(c, uint32(v>>4), &order1[0], order2, &likes[0], &mix[0][bits.Len32(order2.count())])
	agrees := 1
	if hi == uint32(like>>4) {
		agrees = 2
	}
	order2 = l.place(h + (hi+1)*0xc2b2ae35)
	lo := codeMixed(c, uint32(v&15), &order1[1+hi], order2, &likes[1+hi], &mix[agrees][bits.Len32(order2.count())])
	v = byte(hi<<4 | lo)
	// The next literal needs this, which is seldom in the processor's cache.
	l.touched += l.place(hash2(v, c1))[0]
	return v
}
