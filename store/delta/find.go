package delta

import (
	"encoding/binary"
	"math/bits"
)

var le = binary.LittleEndian

func bitLen(v uint32) uint { return uint(bits.Len32(v)) }

// A row holds the latest places of strings with the same hash, and of each a
// byte of a second hash. It is one line of a processor's cache.
type row struct {
	tags [12]byte
	next uint8
	_    [3]byte
	pos  [12]uint32
}

// A finder finds earlier runs that equal the one at a place.
type finder struct {
	buf      []byte
	baseLen  int
	rows     []row
	three    []uint32
	four     []uint32
	long     []uint32
	rowBits  uint
	longBits uint
	fourBits uint
}

const (
	longLen = 12
	rowLen  = 5
)

func tableBits(n int, lo, hi uint) uint { return min(max(bitLen(uint32(n)), lo), hi) }

func (f *finder) reset(n int) {
	f.rowBits = tableBits(n/12, 6, 19)
	f.longBits = tableBits(n, 8, 22)
	f.fourBits = tableBits(n, 8, 18)
	f.rows = clearTable(f.rows, 1<<f.rowBits)
	f.long = clearTable(f.long, 1<<f.longBits)
	f.four = clearTable(f.four, 1<<f.fourBits)
	f.three = clearTable(f.three, 1<<14)
}

func clearTable[T any](t []T, n int) []T {
	if cap(t) < n {
		return make([]T, n)
	}
	t = t[:n]
	clear(t)
	return t
}

func (f *finder) hashes(i int) (row uint32, tag byte, long, four, three uint32) {
	v := le.Uint64(f.buf[i:])
	h := v << (64 - 8*rowLen) * 0x9e3779b97f4a7c15
	row = uint32(h >> (64 - f.rowBits))
	tag = byte(h>>(56-f.rowBits)) | 1
	w := uint64(le.Uint32(f.buf[i+8:]))
	long = uint32((v*0x9fb21c651e98df25 ^ (w+1)*0xd6e8feb86659fd93) * 0x9e3779b97f4a7c15 >> (64 - f.longBits))
	four = uint32(v) * 0x9e3779b1 >> (32 - f.fourBits)
	three = uint32(v) << 8 * 0x9e3779b1 >> (32 - 14)
	return
}

// tail is how many bytes at the end of the buffer are not looked up.
const tail = 16

func (f *finder) insert(i int) {
	if i+tail > len(f.buf) {
		return
	}
	row, tag, long, four, three := f.hashes(i)
	f.put(i, row, tag, long, four, three)
}

func (f *finder) put(i int, row uint32, tag byte, long, four, three uint32) {
	r := &f.rows[row]
	n := r.next
	if n >= 12 {
		n = 0
	}
	r.tags[n] = tag
	r.pos[n] = uint32(i)
	r.next = n + 1
	f.long[long] = uint32(i)
	f.four[four] = uint32(i)
	f.three[three] = uint32(i)
}

// insertBase indexes the base.
func (f *finder) insertBase() {
	for i := 0; i < f.baseLen; i++ {
		f.insert(i)
	}
}

// matchLen returns how many bytes at i equal those at j < i.
func (f *finder) matchLen(j, i int) int {
	limit := len(f.buf) - i
	if j < f.baseLen {
		limit = min(limit, f.baseLen-j)
	}
	a, b := f.buf[j:j+limit], f.buf[i:i+limit]
	n := 0
	for n+8 <= limit {
		if x := le.Uint64(a[n:]) ^ le.Uint64(b[n:]); x != 0 {
			return n + bits.TrailingZeros64(x)/8
		}
		n += 8
	}
	for n < limit && a[n] == b[n] {
		n++
	}
	return n
}
