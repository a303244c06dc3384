package delta

import "math"

// The bits of a literal are predicted by several models at once: from the byte
// before, from the two and the three before, and from the byte at the last
// distance, which in changed code is often right or nearly so. Their
// predictions are mixed in the logistic domain with weights that learn.
//
// Source: Mahoney, "Adaptive Weighing of Context Models for Lossless Data
// Compression", 2005 (PAQ6 to lpaq). All arithmetic is on integers, so that
// every machine predicts the same.
const inputs = 5

// literals predicts literals. A counter holds a chance in its high 22 bits and
// how often it was right to learn in the low 10.
type literals struct {
	order1 []uint32 // by the byte before: 256 nodes each
	order2 []uint32 // by a hash: two blocks of 16 nodes each
	order3 []uint32
	like   []uint32 // by the byte at the last distance, and how that is going
	order0 []uint32
	mask   uint32 // of places of blocks in order2 and order3
	mix    [mixes][inputs]int32
	idx    [inputs]uint32
}

const (
	mixes       = 8 * 8
	countLimit  = 127
	evenCounter = uint32(1 << 31)
	weightOne   = 1 << 16
)

var (
	stretches [4096]int32  // logit of p/4096, in 1/256
	squashes  [4096]uint32 // its inverse, from -2048, as a chance in 1/65536
	learn     [1024]uint32 // step of a counter after n bits, in 1/65536
)

func init() {
	for i := range stretches {
		p := (float64(i) + 0.5) / 4096
		stretches[i] = int32(math.Round(math.Log(p/(1-p)) * 256))
	}
	for i := range squashes {
		p := 1 / (1 + math.Exp(-float64(i-2048)/256))
		squashes[i] = min(max(uint32(math.Round(p*65536)), 16), 65536-16)
	}
	for i := range learn {
		learn[i] = uint32(65536 / (float64(i) + 1.6))
	}
}

// reset prepares for size bytes.
func (l *literals) reset(size int) {
	bits := min(max(bitLen(uint32(size))+3, 12), 20)
	l.mask = 1<<(bits-4) - 1
	resize(&l.order0, 4*256)
	resize(&l.order1, 256*256)
	resize(&l.like, 4*256*256)
	resize(&l.order2, 1<<bits)
	resize(&l.order3, 1<<bits)
	for i := range l.mix {
		l.mix[i] = [inputs]int32{weightOne * 3 / 10, weightOne * 3 / 10, weightOne * 3 / 10, weightOne * 3 / 10, weightOne / 10}
	}
}

// resize makes *t a table of n even counters.
func resize(t *[]uint32, n int) {
	if cap(*t) < n {
		*t = make([]uint32, n)
	}
	*t = (*t)[:n]
	for i := range *t {
		(*t)[i] = evenCounter
	}
}

// code codes a byte that follows c1 (and before it c2 and c3); like is the one
// at the last distance, and run how many literals there were since a match.
func (l *literals) code(c *coder, v, c1, c2, c3, like byte, run uint32) byte {
	order1 := l.order1[int(c1)<<8:][:256]
	order0 := l.order0[int(run)<<8:][:256]
	likes := l.like[int(run)<<16|int(like)<<8:][:256]
	h2 := (uint32(c1)<<8 | uint32(c2)) * 0x9e3779b1
	h3 := (uint32(c1)<<16 | uint32(c2)<<8 | uint32(c3)) * 0x85ebca6b
	node := uint32(1)
	agree := uint32(1)
	for half := range 2 {
		if half == 1 {
			h2 += node * 0xc2b2ae35
			h3 += node * 0xc2b2ae35
		}
		b2 := l.order2[(h2>>11&l.mask)<<4:][:16]
		b3 := l.order3[(h3>>11&l.mask)<<4:][:16]
		sub := uint32(1)
		for i := range 4 {
			p0, p1, p2, p3, p4 := &order1[node&255], &b2[sub&15], &b3[sub&15], &likes[node&255], &order0[node&255]
			s0 := stretches[*p0>>20]
			s1 := stretches[*p1>>20]
			s2 := stretches[*p2>>20]
			s3 := stretches[*p3>>20]
			s4 := stretches[*p4>>20]
			w := &l.mix[(run<<1|agree)<<3|uint32(half*4+i)]
			dot := (int64(s0)*int64(w[0]) + int64(s1)*int64(w[1]) + int64(s2)*int64(w[2]) + int64(s3)*int64(w[3]) + int64(s4)*int64(w[4])) >> 16
			p := squashes[min(max(dot, -2047), 2047)+2048]
			want := int(v>>7) & 1
			v <<= 1
			bit := c.bit(p, want)
			err := (int32(bit<<16) - int32(p)) // 1/65536
			e := err >> 2 * 6
			w[0] += (s0*(e>>4) + 1<<13) >> 14
			w[1] += (s1*(e>>4) + 1<<13) >> 14
			w[2] += (s2*(e>>4) + 1<<13) >> 14
			w[3] += (s3*(e>>4) + 1<<13) >> 14
			w[4] += (s4*(e>>4) + 1<<13) >> 14
			count(p0, bit)
			count(p1, bit)
			count(p2, bit)
			count(p3, bit)
			count(p4, bit)
			if int(like>>(7-uint(half*4+i)))&1 != bit {
				agree = 0
			}
			node = node<<1 | uint32(bit)
			sub = sub<<1 | uint32(bit)
		}
	}
	return byte(node)
}

// count has a counter learn a bit.
func count(t *uint32, bit int) {
	v := *t
	n := v & 1023
	p := v >> 10
	step := learn[n]
	if n < countLimit {
		v++
	}
	if bit != 0 {
		v += ((1<<22 - 1 - p) >> 6 * step >> 10) << 10
	} else {
		v -= (p >> 6 * step >> 10) << 10
	}
	*t = v
}
