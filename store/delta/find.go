package delta

import (
	"encoding/binary"
	"math/bits"
)

var (
	le = binary.LittleEndian
	be = binary.BigEndian
)

const (
	hashFactor   = 0x9e3779b1         // 2^32 over the golden ratio
	hashFactor64 = 0x9e3779b97f4a7c15 // and 2^64
)

const (
	rowWays  = 12 // places in a row
	rowLen   = 5  // bytes that rows are found by
	longLen  = 12 // bytes of long matches
	tail     = 16 // bytes at the end of the buffer at which no run is looked up
	baseStep = 4  // every how many bytes of the base a run is indexed
	longStep = 4  // and a long one in the target, so as not to push those out
)

// A row holds the latest places of runs of the same hash, and of each a byte
// of a second hash. It fills one line of a processor's cache.
type row struct {
	tags [rowWays]byte
	next uint8
	_    [3]byte
	pos  [rowWays]uint32
}

func (r *row) put(i int, tag byte) {
	n := r.next
	if n >= rowWays {
		n = 0
	}
	r.tags[n], r.pos[n] = tag, uint32(i)
	r.next = n + 1
}

// A finder knows where in a buffer runs were seen. Place 0 means none.
type finder struct {
	buf     []byte // the base, and the target after it
	baseLen int

	rows     []row    // by five bytes
	long     []uint32 // the latest place by twelve bytes, by four, and by three
	four     []uint32
	three    []uint32
	rowBits  uint
	longBits uint
	fourBits uint
}

const threeBits = 14

// reset prepares for what is in buf, and indexes the base.
func (f *finder) reset() {
	n := uint32(len(f.buf))
	f.rowBits = min(max(bitLen(n/rowWays), 6), 17)
	f.longBits = min(max(bitLen(n), 8), 22)
	f.fourBits = min(max(bitLen(n), 8), 18)
	f.rows = clearTable(f.rows, 1<<f.rowBits)
	f.long = clearTable(f.long, 1<<f.longBits)
	f.four = clearTable(f.four, 1<<f.fourBits)
	f.three = clearTable(f.three, 1<<threeBits)
	for i := 1; i < f.baseLen && i+tail <= len(f.buf); i += baseStep {
		row, tag := f.rowHash(i)
		f.rows[row].put(i, tag)
		f.long[f.longHash(i)] = uint32(i)
	}
}

// clearTable returns a table of n zeros, in the memory of t if it suffices.
func clearTable[T any](t []T, n int) []T {
	if cap(t) < n {
		return make([]T, n)
	}
	t = t[:n]
	clear(t)
	return t
}

func bitLen(v uint32) uint { return uint(bits.Len32(v)) }

// The hashes of the runs at one place.
type hashes struct {
	row, long, four, three uint32
	tag                    byte
}

func (f *finder) hashes(i int) (h hashes) {
	v := le.Uint32(f.buf[i:])
	h.row, h.tag = f.rowHash(i)
	h.long = f.longHash(i)
	h.four = v * hashFactor >> (32 - f.fourBits)
	h.three = v << 8 * hashFactor >> (32 - threeBits)
	return h
}

func (f *finder) rowHash(i int) (row uint32, tag byte) {
	h := le.Uint64(f.buf[i:]) << (64 - 8*rowLen) * hashFactor64
	return uint32(h >> (64 - f.rowBits)), byte(h>>(56-f.rowBits)) | 1
}

func (f *finder) longHash(i int) uint32 {
	v, w := le.Uint64(f.buf[i:]), uint64(le.Uint32(f.buf[i+8:]))
	return uint32((v*0x9fb21c651e98df25 ^ (w+1)*0xd6e8feb86659fd93) * hashFactor64 >> (64 - f.longBits))
}

// put enters the runs at i.
func (f *finder) put(i int, h hashes) {
	f.rows[h.row].put(i, h.tag)
	if i%longStep == 0 {
		f.long[h.long] = uint32(i)
	}
	f.four[h.four] = uint32(i)
	f.three[h.three] = uint32(i)
}

// putRange enters the runs within a match: every second, and fewer in a long
// match, which is found at its begin, and in one of what is in the base, which
// is indexed there.
func (f *finder) putRange(from, to int, inBase bool) {
	step := 2
	if inBase {
		step = 16
	} else if to-from > 256 {
		step = 8
	}
	for ; from < to && from+tail <= len(f.buf); from += step {
		f.put(from, f.hashes(from))
	}
}

// matchLen returns how many bytes at i equal those at j < i. A match does not
// cross from the base into the target.
func (f *finder) matchLen(j, i int) int {
	limit := len(f.buf) - i
	if j < f.baseLen {
		limit = min(limit, f.baseLen-j)
	}
	a, b := f.buf[j:j+limit], f.buf[i:i+limit]
	n := 0
	for ; n+8 <= limit; n += 8 {
		if x := le.Uint64(a[n:]) ^ le.Uint64(b[n:]); x != 0 {
			return n + bits.TrailingZeros64(x)/8
		}
	}
	for n < limit && a[n] == b[n] {
		n++
	}
	return n
}
