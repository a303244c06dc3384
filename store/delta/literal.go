package delta

// The bits of a literal are predicted by several models at once: from the byte
// before, from the two before, and from the byte at the last distance, which in
// changed code is often right or nearly so. Their predictions are mixed in the
// logistic domain with weights that learn.
//
// Source: Mahoney, "Adaptive Weighing of Context Models for Lossless Data
// Compression", 2005, as in his lpaq. Coding uses integers alone, so that every
// machine predicts the same.
const inputs = 3

const (
	minOrder2 = 12 // bits of the number of counters
	maxOrder2 = 22
	weightOne = 1 << 16
	maxRun    = 3 // literals since a match, as far as they are counted
)

// literals predicts literals. A counter holds a chance in its high 13 bits,
// and in the low 3 how much it has learned.
type literals struct {
	order1 []uint16 // 256 counters for each byte
	order2 []uint16 // two blocks of 16 by a hash of two bytes
	like   []uint16 // 256 by the byte at the last distance and the run
	mask   uint32   // of numbers of blocks in order2
	mix    [(maxRun + 1) * 2 * 8][inputs]int32
}

const evenCounter = 1 << 15

// learn is by how much a counter moves towards a bit, in 1/65536.
var learn = [8]uint32{37000, 25000, 18000, 14000, 10000, 7500, 5500, 65536 / 14}

// squashPoints are 65536/(1+exp(-x)) for x from -8 to 8 in steps of a half.
// They are written out because machines differ in the last bit of exp.
var squashPoints = [33]uint32{
	22, 36, 60, 98, 162, 267, 439, 720, 1179, 1921, 3108,
	4971, 7812, 11955, 17625, 24743, 32768, 40793, 47911, 53581, 57724, 60565,
	62428, 63615, 64357, 64816, 65097, 65269, 65374, 65438, 65476, 65500, 65514,
}

// stretches[p] is the logit of p/4096, in 1/256; squashes is the inverse, from
// -2048, as a chance in 1/65536.
var stretches, squashes = func() (st [4096]int32, sq [4096]uint32) {
	for i := range sq {
		k, r := i/128, uint32(i%128)
		sq[i] = (squashPoints[k]*(128-r) + squashPoints[k+1]*r) / 128
	}
	// The logit is looked up in its inverse.
	x := 0
	for i := range st {
		for x < 4095 && sq[x] < uint32(i)*16+8 {
			x++
		}
		st[i] = int32(x - 2048)
	}
	return st, sq
}()

// reset prepares for a target of size bytes.
func (l *literals) reset(size int) {
	bits := min(max(bitLen(uint32(size))+3, minOrder2), maxOrder2)
	l.mask = 1<<(bits-4) - 1
	l.order1 = evenCounters(l.order1, 256*256)
	l.order2 = evenCounters(l.order2, 1<<bits)
	l.like = evenCounters(l.like, (maxRun+1)*256*256)
	for i := range l.mix {
		for k := range l.mix[i] {
			l.mix[i][k] = weightOne * 4 / 10
		}
	}
}

// evenCounters returns n counters, in the memory of t if it suffices.
func evenCounters(t []uint16, n int) []uint16 {
	if cap(t) < n {
		t = make([]uint16, n)
	}
	t = t[:n]
	for i := range t {
		t[i] = evenCounter
	}
	return t
}

// hash2 hashes two bytes.
func hash2(c1, c2 byte) uint32 { return (uint32(c1)<<8 | uint32(c2)) * hashFactor }

// place returns where the block for a hash begins in order2.
func (l *literals) place(h uint32) uint32 { return (h >> 11 & l.mask) << 4 }

// code codes a byte v after c1, and c2 before that. like is the byte at the
// last distance, and run how many literals there were since a match.
func (l *literals) code(c *coder, v, c1, c2, like byte, run uint32) byte {
	order1 := l.order1[int(c1)<<8:][:256]
	likes := l.like[int(run)<<16|int(like)<<8:][:256]
	h := hash2(c1, c2)
	node := uint32(1) // the bits so far, after a 1
	agree := uint32(1)
	for half := range uint32(2) {
		if half == 1 {
			h += node * 0xc2b2ae35
		}
		order2 := l.order2[l.place(h):][:16]
		sub := uint32(1)
		for i := half * 4; i < half*4+4; i++ {
			p0, p1, p2 := &order1[node&255], &order2[sub&15], &likes[node&255]
			s0, s1, s2 := stretches[*p0>>4], stretches[*p1>>4], stretches[*p2>>4]
			w := &l.mix[(run<<1|agree)<<3|i]
			dot := (int64(s0)*int64(w[0]) + int64(s1)*int64(w[1]) + int64(s2)*int64(w[2])) >> 16
			p := squashes[min(max(dot, -2047), 2047)+2048]
			bit := c.bit(p, int(v>>(7-i)&1))
			e := (int32(bit<<16) - int32(p)) >> 2 * 6 >> 4
			w[0] += (s0*e + 1<<13) >> 14
			w[1] += (s1*e + 1<<13) >> 14
			w[2] += (s2*e + 1<<13) >> 14
			count(p0, bit)
			count(p1, bit)
			count(p2, bit)
			if int(like>>(7-i)&1) != bit {
				agree = 0
			}
			node = node<<1 | uint32(bit)
			sub = sub<<1 | uint32(bit)
		}
	}
	return byte(node)
}

// count has a counter learn a bit.
func count(t *uint16, bit int) {
	v := uint32(*t)
	n, p := v&7, v>>3
	if bit != 0 {
		p += (1<<13 - 1 - p) * learn[n] >> 16
	} else {
		p -= p * learn[n] >> 16
	}
	*t = uint16(p<<3 | min(n+1, 7))
}
