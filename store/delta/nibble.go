package delta

// A nibble knows how likely each value of four bits is. It holds sixteen lanes
// of 16 bits, so that all are reckoned with a few operations on words: lane v is
// the chance, in 1/32768, of a value below v. Lane 0, which would be 0, counts
// what was learned instead. Lanes stand in such an order that the even ones of
// word w are 4w and 4w+1, and the odd ones 4w+2 and 4w+3.
//
// Source: Giesen, "Mixing discrete probability distributions", 2015.
type nibble [4]uint64

const (
	nibbleOne = 1 << 15
	laneMask  = 1<<16 - 1
	lanes     = 0x0001000100010001 // 1 in each
	pairMask  = 0x0000ffff0000ffff
	learned   = 12 // where counting ends
)

// laneShift is where in its word lane v begins.
func laneShift(v uint32) uint32 { return (v&1)<<5 | (v&2)<<3 }

var (
	// evenNibble has learned nothing.
	evenNibble nibble
	// above[v] has all bits in the lanes above v.
	above [16]nibble
)

// A pace is how a nibble that has learned so often learns: its lanes lose
// 1/2^shift of themselves, and those above the value gain add.
type pace struct {
	mask, add uint64 // in each lane
	shift     uint32
	next      uint32 // the new count
}

var paces [16]pace

func init() {
	for v := range uint32(16) {
		evenNibble[v>>2] |= uint64(v*nibbleOne/16) << laneShift(v)
		for u := v + 1; u < 16; u++ {
			above[v][u>>2] |= laneMask << laneShift(u)
		}
	}
	shifts := [learned + 1]uint32{1, 2, 2, 3, 3, 3, 4, 4, 4, 4, 4, 4, 5}
	for n := range paces {
		s := shifts[min(n, learned)]
		paces[n] = pace{lanes * (laneMask >> s), lanes * (nibbleOne>>s - 1), s, uint32(min(n+1, learned))}
	}
}

// count returns how often n has learned, at most learned.
func (n *nibble) count() uint32 { return uint32(n[0] & 15) }

// chance returns how likely v is.
func (n *nibble) chance(v uint32) uint64 {
	below := n[v>>2&3] >> (laneShift(v) & 63) & laneMask
	if v == 0 {
		below = 0
	}
	u := v + 1
	to := n[u>>2&3] >> (laneShift(u) & 63) & laneMask
	if v == 15 {
		to = nibbleOne
	}
	return to - below
}

// learn makes v likelier.
func (n *nibble) learn(v uint32) {
	p := &paces[n[0]&15]
	mask, add, shift := p.mask, p.add, p.shift&63
	a := &above[v&15]
	w := n[0] &^ laneMask
	n[0] = w - w>>shift&mask + a[0]&add | uint64(p.next)
	w = n[1]
	n[1] = w - w>>shift&mask + a[1]&add
	w = n[2]
	n[2] = w - w>>shift&mask + a[2]&add
	w = n[3]
	n[3] = w - w>>shift&mask + a[3]&add
}

// evenNibbles returns n models, in the memory of t if it suffices.
func evenNibbles(t []nibble, n int) []nibble {
	if cap(t) < n {
		t = make([]nibble, n)
	}
	t = t[:n]
	t[0] = evenNibble
	for done := 1; done < n; done *= 2 {
		copy(t[done:], t[:done])
	}
	return t
}

// weights say how much three models count, in 1/65536.
type weights [3]uint32

const (
	allWeights  = 1<<16 - 1<<9 // their sum; what lacks leaves room for leastChance
	leastWeight = 1 << 10
	leastChance = 31 // of a value, in 1/65536, beyond what the models say
	weightRate  = 5
)

// learn gives weight to the models that held what came to be likely. Odds are
// what each contributed to its chance.
//
// Source: the expectation step of Dempster, Laird and Rubin, "Maximum Likelihood
// from Incomplete Data via the EM Algorithm", 1977, taken step by step.
func (w *weights) learn(odds0, odds1, odds2 uint64) {
	scale := uint64(allWeights<<31) / (odds0 + odds1 + odds2)
	w0 := w[0] + uint32(int32(uint32(odds0*scale>>31)-w[0])>>weightRate)
	w1 := w[1] + uint32(int32(uint32(odds1*scale>>31)-w[1])>>weightRate)
	w0 = min(max(w0, leastWeight), allWeights-3*leastWeight)
	w1 = min(max(w1, leastWeight), allWeights-leastWeight-w0)
	w[0], w[1], w[2] = w0, w1, allWeights-w0-w1
}

// codeMixed codes v, below 16, by the weighted mean of three models, and has
// all learn from it.
func codeMixed(c *coder, v uint32, a, b, d *nibble, w *weights) uint32 {
	w0, w1, w2 := uint64(w[0]), uint64(w[1]), uint64(w[2])
	// The chances of values below 0 to 15, in 1/65536, two to a word.
	const one = 0x0001ffff0001ffff
	const least = leastChance
	var t [8]uint64
	x, y, z := a[0]&^laneMask, b[0]&^laneMask, d[0]&^laneMask
	t[0] = ((x&pairMask)*w0+(y&pairMask)*w1+(z&pairMask)*w2)>>15&one + (0+1<<32)*least
	t[1] = ((x>>16&pairMask)*w0+(y>>16&pairMask)*w1+(z>>16&pairMask)*w2)>>15&one + (2+3<<32)*least
	x, y, z = a[1], b[1], d[1]
	t[2] = ((x&pairMask)*w0+(y&pairMask)*w1+(z&pairMask)*w2)>>15&one + (4+5<<32)*least
	t[3] = ((x>>16&pairMask)*w0+(y>>16&pairMask)*w1+(z>>16&pairMask)*w2)>>15&one + (6+7<<32)*least
	x, y, z = a[2], b[2], d[2]
	t[4] = ((x&pairMask)*w0+(y&pairMask)*w1+(z&pairMask)*w2)>>15&one + (8+9<<32)*least
	t[5] = ((x>>16&pairMask)*w0+(y>>16&pairMask)*w1+(z>>16&pairMask)*w2)>>15&one + (10+11<<32)*least
	x, y, z = a[3], b[3], d[3]
	t[6] = ((x&pairMask)*w0+(y&pairMask)*w1+(z&pairMask)*w2)>>15&one + (12+13<<32)*least
	t[7] = ((x>>16&pairMask)*w0+(y>>16&pairMask)*w1+(z>>16&pairMask)*w2)>>15&one + (14+15<<32)*least

	v = c.symbol(v, &t)
	a0, b0, d0 := a.chance(v)+4, b.chance(v)+4, d.chance(v)+4
	w.learn(a0*w0, b0*w1, d0*w2)
	a.learn(v)
	b.learn(v)
	d.learn(v)
	return v
}
