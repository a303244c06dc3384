package zstd

import "math/bits"

// maxLog is the most that the log of a table may be, in bits.
const maxLog = 9

// An fseTable codes symbols by finite state entropy: a state holds a fraction of
// a bit, and to code a symbol moves to another state and writes whole bits.
//
// Source: RFC 8878, section 4.1, and Duda, "Asymmetric numeral systems", 2013.
type fseTable struct {
	log     uint    // there are 1<<log states
	norm    []int16 // of them, each symbol's share; -1 is less than one
	next    [1 << maxLog]uint16
	symbols [64]transform
}

// A transform leads from a state to the next one that has the symbol.
type transform struct {
	bits  uint32 // how many bits are written, in the high half, less where one more begins
	place int32  // of the symbol's states in next
}

func newTable(log uint, norm []int16) fseTable {
	t := fseTable{log: log, norm: norm}
	t.build()
	return t
}

// one makes the code of a single symbol, which takes no bits.
func (t *fseTable) one() {
	t.log = 0
	t.next[0] = 0
	for i := range t.symbols {
		t.symbols[i] = transform{}
	}
}

// normalize shares the states among symbols by how often each occurs, n times
// together.
func (t *fseTable) normalize(counts []uint32, n uint32, atMost uint) {
	least := uint(bits.Len(uint(len(counts)))) + 1
	t.log = max(min(atMost, uint(bits.Len32(n-1))-2), least, 5)
	t.log = min(t.log, atMost)
	size := 1 << t.log
	t.norm = t.norm[:0]
	left, most := size, 0
	for i, c := range counts {
		share := int16(0)
		if c > 0 {
			share = max(1, int16((uint64(c)<<(t.log+1)/uint64(n)+1)>>1))
		}
		t.norm = append(t.norm, share)
		left -= int(share)
		if share > t.norm[most] {
			most = i
		}
	}
	for ; left < 0; left++ { // too many had less than one
		most = 0
		for i, share := range t.norm {
			if share > t.norm[most] {
				most = i
			}
		}
		t.norm[most]--
	}
	t.norm[most] += int16(left)
}

// build makes the table of the shares.
func (t *fseTable) build() {
	size := 1 << t.log
	var spread [1 << maxLog]uint8
	high := size
	for s, n := range t.norm {
		if n < 0 {
			high--
			spread[high] = uint8(s)
		}
	}
	at, step := 0, size>>1+size>>3+3
	for s, n := range t.norm {
		for range n {
			spread[at] = uint8(s)
			at = (at + step) & (size - 1)
			for at >= high {
				at = (at + step) & (size - 1)
			}
		}
	}
	var start [65]int
	total := 0
	for s, n := range t.norm {
		start[s] = total
		if n < 0 {
			n = 1
		}
		t.symbols[s] = transformOf(int(n), total, t.log)
		total += int(n)
	}
	for u, s := range spread[:size] {
		t.next[start[s]] = uint16(size + u)
		start[s]++
	}
}

// transformOf returns the transform of a symbol with n states, after those of
// earlier symbols.
func transformOf(n, earlier int, log uint) transform {
	switch n {
	case 0:
		return transform{}
	case 1:
		return transform{bits: uint32(log)<<16 - 1<<log, place: int32(earlier - 1)}
	}
	most := log - uint(bits.Len(uint(n-1))-1)
	return transform{bits: uint32(most)<<16 - uint32(n)<<most, place: int32(earlier - n)}
}

// start returns the state that holds a symbol alone.
func (t *fseTable) start(symbol uint8) uint32 {
	x := t.symbols[symbol&63]
	if t.log == 0 {
		return 0
	}
	n := (x.bits + 1<<15) >> 16
	return uint32(t.next[int32((n<<16-x.bits)>>n)+x.place])
}

// encode codes a symbol in a state and returns the next one.
func (t *fseTable) encode(w *bitWriter, state uint32, symbol uint8) uint32 {
	x := &t.symbols[symbol&63]
	n := (state + x.bits) >> 16
	w.add(uint64(state), uint(n))
	return uint32(t.next[(int32(state>>(n&31))+x.place)&(1<<maxLog-1)])
}

// appendDescription appends the shares, as a decoder reads them.
func (t *fseTable) appendDescription(dst []byte) []byte {
	var w bitWriter
	w.reset(dst, 2*len(t.norm)+2)
	w.add(uint64(t.log-5), 4)
	left, threshold, n := 1<<t.log+1, 1<<t.log, t.log+1
	for s := 0; s < len(t.norm) && left > 1; s++ {
		share := int(t.norm[s])
		most := 2*threshold - 1 - left
		left -= max(share, -share)
		v := share + 1
		if v >= threshold {
			v += most
		}
		if v < most {
			w.add(uint64(v), n-1)
		} else {
			w.add(uint64(v), n)
		}
		w.flush()
		if share == 0 {
			s = t.appendZeros(&w, s)
		}
		for left < threshold {
			n--
			threshold >>= 1
		}
	}
	return w.end()
}

// appendZeros writes how many more symbols after s have no share, and returns
// the last of them.
func (t *fseTable) appendZeros(w *bitWriter, s int) int {
	zeros := 0
	for s+1 < len(t.norm) && t.norm[s+1] == 0 {
		s++
		zeros++
	}
	for ; zeros >= 3; zeros -= 3 {
		w.add(3, 2)
		w.flush()
	}
	w.add(uint64(zeros), 2)
	w.flush()
	return s
}
