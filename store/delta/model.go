package delta

// How long and far a match may be coded.
const (
	minMatch = 3 // of a match at a new distance
	minRep   = 2 // of one at a distance that was used just before
	slotBits = 6
)

// A prob is the chance of a bit to be 1, in 1/65536, as two estimates: a
// quick one in the low half and a slow one in the high half.
type prob uint32

const evenProb = prob(1<<15 | 1<<31)

const (
	quickRate = 4
	slowRate  = 7
)

// code codes a bit and learns from it.
func (p *prob) code(c *coder, bit int) int {
	quick, slow := uint32(*p&0xffff), uint32(*p>>16)
	bit = c.bit((quick+slow)>>1|1, bit)
	if bit != 0 {
		quick += (65535 - quick) >> quickRate
		slow += (65535 - slow) >> slowRate
	} else {
		quick -= quick >> quickRate
		slow -= slow >> slowRate
	}
	*p = prob(slow<<16 | quick)
	return bit
}

// codeTree codes a number below len(t), a power of two.
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

// A number is a model of numbers below 2^26 of which small ones are frequent:
// a slot that says how many bits there are, and the bits.
type number struct {
	slots [1 << slotBits]prob
	high  [1 << slotBits][4]prob // the two bits after those of the slot
	low   [1 << 4]prob           // the last four bits of a big one
}

// slotOf returns the slot of v, and how many bits follow it.
func slotOf(v uint32) (slot uint32, extra uint) {
	if v < 16 {
		return v, 0
	}
	n := bitLen(v) - 1
	return uint32(16+(n-4)*2) + v>>(n-1)&1, n - 1
}

// slotStart is the inverse of slotOf: the smallest number of a slot.
func slotStart(slot uint32) (v uint32, extra uint) {
	if slot < 16 {
		return slot, 0
	}
	extra = uint(slot-16)/2 + 3
	return (2 | slot&1) << extra, extra
}

func (m *number) code(c *coder, v uint32) uint32 {
	slot, _ := slotOf(v)
	slot = codeTree(c, m.slots[:], slot)
	start, extra := slotStart(slot)
	if extra == 0 {
		return start
	}
	// extra >= 3
	rest := v - start
	r := codeTree(c, m.high[slot][:], rest>>(extra-2))
	extra -= 2
	if extra > 4 {
		r = r<<(extra-4) | c.bits(extra-4, rest>>4&(1<<(extra-4)-1))
		extra = 4
	}
	r = r<<extra | codeTree(c, m.low[:1<<extra], rest&(1<<extra-1))
	return start + r
}

// What was coded, as the context of what comes next.
const (
	kindLiteral = iota
	kindMatch
	kindRep
	kinds
)

const states = kinds * kinds * kinds

// A model knows what has been coded, and how likely that makes what follows.
// Coding and decoding change it in the same way.
type model struct {
	c        coder
	lit      literals
	state    uint32 // the last three kinds
	reps     [4]uint32
	run      uint32 // literals since a match, at most 3
	baseDist uint32 // distance of the last match in the base

	match   [states][256]prob // a match, by state and last byte
	rep     [states]prob      // at one of reps
	which   [states][4]prob   // of them
	inBase  [states]prob      // a match in the base
	near    [3]number         // distances in the target, by length
	far     [3]number         // from baseDist, by length
	matchLn [2]number
	repLn   [2]number
}

// reset prepares for a target of size bytes that lies after a base of so many
// bytes, whose places are related by shift.
func (m *model) reset(baseDist uint32, size int) {
	m.lit.reset(size)
	m.state, m.run = 0, 0
	m.baseDist = baseDist
	m.reps = [4]uint32{baseDist, 1, 2, 4}
	if baseDist == 0 {
		m.reps[0] = 8
	}
	for i := range m.match {
		fill(m.match[i][:])
		fill(m.which[i][:])
	}
	fill(m.rep[:])
	fill(m.inBase[:])
	for i := range 3 {
		m.near[i].reset()
		m.far[i].reset()
	}
	for i := range 2 {
		m.matchLn[i].reset()
		m.repLn[i].reset()
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

// A token is one step: a literal when length is 0, else a match.
type token struct {
	length int
	dist   uint32
}

func (m *model) isMatch(last byte, bit int) int {
	return m.match[m.state][last].code(&m.c, bit)
}

// codeMatch codes a match at place pos, counted from the start of a base of
// baseLen bytes.
func (m *model) codeMatch(t token, pos, baseLen int) token {
	s := m.state
	r := -1
	for i, d := range m.reps {
		if d == t.dist {
			r = i
			break
		}
	}
	bit := 0
	if r >= 0 {
		bit = 1
	}
	if m.rep[s].code(&m.c, bit) != 0 {
		r = int(codeTree(&m.c, m.which[s][:], uint32(max(r, 0))))
		t.dist = m.reps[r]
		copy(m.reps[1:r+1], m.reps[:r])
		m.reps[0] = t.dist
		after := 0
		if s%kinds != kindLiteral {
			after = 1
		}
		t.length = int(m.repLn[after].code(&m.c, uint32(t.length-minRep))) + minRep
		m.note(kindRep)
	} else {
		after := 0
		if s%kinds != kindLiteral {
			after = 1
		}
		t.length = int(m.matchLn[after].code(&m.c, uint32(t.length-minMatch))) + minMatch
		m.codeDist(&t, pos, baseLen)
		copy(m.reps[1:], m.reps[:3])
		m.reps[0] = t.dist
		m.note(kindMatch)
	}
	if int(t.dist) > pos-baseLen {
		m.baseDist = t.dist
	}
	return t
}

func (m *model) codeDist(t *token, pos, baseLen int) {
	class := min(t.length-minMatch, 2)
	if t.length > 5 {
		class = 2
	}
	if class < 0 {
		class = 0
	}
	bit := 0
	if int(t.dist) > pos-baseLen {
		bit = 1
	}
	if baseLen > 0 {
		bit = m.inBase[m.state].code(&m.c, bit)
	}
	if bit == 0 {
		t.dist = m.near[class].code(&m.c, t.dist-1) + 1
		return
	}
	t.dist = m.baseDist + unzigzag(m.far[class].code(&m.c, zigzag(t.dist-m.baseDist)))
}

func zigzag(d uint32) uint32   { return d<<1 ^ uint32(int32(d)>>31) }
func unzigzag(z uint32) uint32 { return z>>1 ^ -(z & 1) }

// note remembers a kind.
func (m *model) note(kind uint32) { m.state = (m.state*kinds + kind) % states }
