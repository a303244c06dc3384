package delta

// A prob is the chance of a bit to be 1, in 1/65536, as two estimates: one that
// learns quickly in the low half and one that learns slowly in the high half.
type prob uint32

const (
	evenProb  = prob(1<<15 | 1<<31)
	quickRate = 4
	slowRate  = 7
)

// code codes a bit and learns from it.
func (p *prob) code(c *coder, bit int) int {
	quick, slow := uint32(*p&0xffff), uint32(*p>>16)
	bound := uint32(uint64(c.rng) * uint64((quick+slow)>>1|1) >> 16)
	if c.decoding {
		bit = 0
		if c.code < bound {
			bit = 1
		}
	}
	if bit != 0 {
		c.rng = bound
		quick += (65535 - quick) >> quickRate
		slow += (65535 - slow) >> slowRate
	} else {
		c.skip(bound)
		c.rng -= bound
		quick -= quick >> quickRate
		slow -= slow >> slowRate
	}
	*p = prob(slow<<16 | quick)
	if c.rng < 1<<24 {
		c.normalise()
	}
	return bit
}

func (p *prob) codeBool(c *coder, v bool) bool {
	bit := 0
	if v {
		bit = 1
	}
	return p.code(c, bit) != 0
}

// codeTree codes a number below len(t), a power of two, highest bit first.
func codeTree(c *coder, t []prob, v uint32) uint32 {
	node := uint32(1)
	for size := uint32(len(t)) >> 1; size > 0; size >>= 1 {
		bit := 0
		if v&size != 0 {
			bit = 1
		}
		node = node<<1 | uint32(t[node].code(c, bit))
	}
	return node - uint32(len(t))
}

// A number models numbers below 2^28 of which small ones are frequent: a slot,
// which says how many bits there are, and the bits. They are modelled but for
// those in the middle.
type number struct {
	slots [64]prob
	high  [64][4]prob // the first two bits, by slot
	low   [16]prob    // the last four
}

// slotOf returns the slot of v.
func slotOf(v uint32) uint32 {
	if v < 16 {
		return v
	}
	n := uint32(bitLen(v))
	return 16 + (n-5)*2 + v>>(n-2)&1
}

// slotStart returns the smallest number of a slot, and how many bits follow:
// none, or three and more.
func slotStart(slot uint32) (v uint32, extra uint) {
	if slot < 16 {
		return slot, 0
	}
	extra = uint(slot-16)/2 + 3
	return (2 | slot&1) << extra, extra
}

func (m *number) code(c *coder, v uint32) uint32 {
	slot := codeTree(c, m.slots[:], slotOf(v))
	start, extra := slotStart(slot)
	if extra == 0 {
		return start
	}
	rest := v - start
	extra -= 2
	r := codeTree(c, m.high[slot][:], rest>>extra)
	for extra > 4 {
		n := min(extra-4, 12)
		extra -= n
		r = r<<n | c.bits(n, rest>>extra&(1<<n-1))
	}
	return start + (r<<extra | codeTree(c, m.low[:1<<extra], rest&(1<<extra-1)))
}

// zigzag maps numbers near 0, of either sign, to small ones.
func zigzag(d uint32) uint32   { return d<<1 ^ uint32(int32(d)>>31) }
func unzigzag(z uint32) uint32 { return z>>1 ^ -(z & 1) }

// What a step was.
const (
	wasLiteral = iota
	wasMatch
	wasRep
	kinds
)

const (
	states   = kinds * kinds * kinds
	minMatch = 3 // length of a match at a new distance
	minRep   = 2 // and of one at a distance that was used just before

	// blockSize is the size of blocks, of which each has a kind.
	blockSize = 16 << 10
)

// A blockKind says how the bytes of a block are coded.
type blockKind int

const (
	modelled blockKind = iota // steps whose literals are predicted
	plain                     // steps whose literals are not
	stored                    // no steps: the bytes as they are
)

// A model knows what was coded, and how likely that makes what follows. Coding
// and decoding change it in the same way.
type model struct {
	c        coder
	lit      literals
	kind     blockKind // of the present block
	state    uint32    // the last three kinds of steps
	run      uint32    // literals since a match, at most maxRun
	reps     [4]uint32 // the last distances
	baseDist uint32    // the last distance into the base

	probs
}

// probs are those of a model's chances that are of type prob.
type probs struct {
	isPlain    prob              // a block, or else modelled
	isStored   prob              // one that is not modelled
	plainMatch prob              // a match, in a plain block
	isMatch    [states][256]prob // in others, by state and the last byte
	isRep      [states]prob      // a match at one of reps
	whichRep   [states][4]prob   // of them
	inBase     [states]prob      // a match in the base
	near       [3]number         // distances in the target, by length
	far        [3]number         // in the base, from baseDist, by length
	matchLen   [2]number         // by whether it follows a match
	repLen     [2]number
}

// reset prepares for a target of size bytes, whose bytes most likely equal
// those dist before, in the base; 0 means that there is none.
func (m *model) reset(dist uint32, size int) {
	m.lit.reset(size)
	m.kind, m.state, m.run = modelled, 0, 0
	m.baseDist = dist
	m.reps = [4]uint32{dist, 1, 2, 4}
	if dist == 0 {
		m.reps[0] = 8
	}
	m.probs = probs{isPlain: evenProb, isStored: evenProb, plainMatch: evenProb}
	for i := range states {
		fill(m.probs.isMatch[i][:])
		fill(m.whichRep[i][:])
	}
	fill(m.isRep[:])
	fill(m.inBase[:])
	for _, n := range [][]number{m.near[:], m.far[:], m.matchLen[:], m.repLen[:]} {
		for i := range n {
			n[i].reset()
		}
	}
}

func (m *number) reset() {
	fill(m.slots[:])
	for i := range m.high {
		fill(m.high[i][:])
	}
	fill(m.low[:])
}

func fill(p []prob) {
	for i := range p {
		p[i] = evenProb
	}
}

// block codes the kind of the block that place i of the target lies in, and
// returns where the next one begins.
func (m *model) block(i int, kind blockKind) int {
	m.kind = modelled
	if m.isPlain.codeBool(&m.c, kind != modelled) {
		m.kind = plain
		if m.isStored.codeBool(&m.c, kind == stored) {
			m.kind = stored
		}
	}
	return (i/blockSize + 1) * blockSize
}

// store codes bytes as they are: two at a time, and one that is left.
func (m *model) store(b []byte) {
	for range min(len(b), maxRun) {
		m.run = min(m.run+1, maxRun)
		m.note(wasLiteral)
	}
	for ; len(b) > 1; b = b[2:] {
		be.PutUint16(b, uint16(m.c.bits(16, uint32(be.Uint16(b)))))
	}
	if len(b) > 0 {
		b[0] = byte(m.c.bits(8, uint32(b[0])))
	}
}

// isMatch codes whether a match follows the byte last, or a literal.
func (m *model) isMatch(last byte, yes bool) bool {
	if m.kind == plain {
		return m.plainMatch.codeBool(&m.c, yes)
	}
	return m.probs.isMatch[m.state][last].codeBool(&m.c, yes)
}

// literal codes a byte, in a block that is not stored; see literals.code.
func (m *model) literal(v, c1, c2, like byte) byte {
	if m.kind == plain {
		v = byte(m.c.bits(8, uint32(v)))
	} else {
		v = m.lit.code(&m.c, v, c1, c2, like, m.run)
	}
	m.run = min(m.run+1, maxRun)
	m.note(wasLiteral)
	return v
}

// note remembers what a step was.
func (m *model) note(kind uint32) { m.state = (m.state*kinds + kind) % states }

// A token is a match: length bytes equal those dist before.
type token struct {
	length int
	dist   uint32
}

// match codes a match at place i, counted from the start of the base.
func (m *model) match(t token, i, baseLen int) token {
	after := 0
	if m.state%kinds != wasLiteral {
		after = 1
	}
	k, rep := m.repOf(t.dist)
	kind := uint32(wasMatch)
	if m.isRep[m.state].codeBool(&m.c, rep) {
		kind = wasRep
		k = codeTree(&m.c, m.whichRep[m.state][:], k)
		t.dist = m.reps[k]
		t.length = int(m.probs.repLen[after].code(&m.c, uint32(t.length-minRep))) + minRep
	} else {
		k = uint32(len(m.reps)) - 1 // the one to forget
		t.length = int(m.probs.matchLen[after].code(&m.c, uint32(t.length-minMatch))) + minMatch
		t.dist = m.dist(t, i, baseLen)
	}
	copy(m.reps[1:], m.reps[:k])
	m.reps[0] = t.dist
	if int(t.dist) > i-baseLen {
		m.baseDist = t.dist
	}
	m.run = 0
	m.note(kind)
	return t
}

// repOf finds a distance among the last ones.
func (m *model) repOf(dist uint32) (k uint32, ok bool) {
	for k, d := range m.reps {
		if d == dist {
			return uint32(k), true
		}
	}
	return 0, false
}

// dist codes the distance of a match.
func (m *model) dist(t token, i, baseLen int) uint32 {
	class := min(max(t.length-minMatch, 0), 2)
	if baseLen > 0 && m.inBase[m.state].codeBool(&m.c, int(t.dist) > i-baseLen) {
		return m.baseDist + unzigzag(m.far[class].code(&m.c, zigzag(t.dist-m.baseDist)))
	}
	return m.near[class].code(&m.c, t.dist-1) + 1
}
