package overlay

import (
	"math/bits"
	"sync/atomic"
)

// A bitmap has a bit for each block. Bits are set, never taken back, by several
// goroutines at once.
type bitmap []uint64

func newBitmap(n int64) bitmap { return make(bitmap, (n+63)/64) }

func (b bitmap) get(i int64) bool {
	return atomic.LoadUint64(&b[i/64])>>(i%64)&1 != 0
}

// next returns the first bit from first on that is as asked for, or last.
func (b bitmap) next(first, last int64, set bool) int64 {
	for first < last {
		w := atomic.LoadUint64(&b[first/64])
		if !set {
			w = ^w
		}
		if w >>= first % 64; w != 0 {
			return min(first+int64(bits.TrailingZeros64(w)), last)
		}
		first = (first/64 + 1) * 64
	}
	return last
}

// words yields the words that hold the bits from first to before last, and which
// bits of them.
func words(first, last int64, yield func(word int64, mask uint64)) {
	for first < last {
		word := first / 64
		mask := ^uint64(0) << (first % 64)
		if end := (word + 1) * 64; end > last {
			mask &= ^uint64(0) >> (end - last)
		}
		yield(word, mask)
		first = (word + 1) * 64
	}
}

// pageWords is how many words a page of the map has, the unit in which it is
// written.
const pageWords = BlockSize / 8

// freshBits are the bits that only memory has.
type freshBits struct {
	bits    bitmap
	touched []atomic.Bool // pages that have any, or had
}

func newFreshBits(n int64) freshBits {
	b := newBitmap(n)
	return freshBits{b, make([]atomic.Bool, (len(b)+pageWords-1)/pageWords)}
}

// set sets bits of present, and here those that were not set there. Here first: who
// finds a bit of present set leaves it at that, and flushes.
func (f *freshBits) set(present *bitmap, first, last int64) {
	words(first, last, func(w int64, mask uint64) {
		if missing := mask &^ atomic.LoadUint64(&(*present)[w]); missing != 0 {
			f.add(w, missing)
			atomic.OrUint64(&(*present)[w], missing)
		}
	})
}

// add has the next take find bits of a word.
func (f *freshBits) add(w int64, mask uint64) {
	atomic.OrUint64(&f.bits[w], mask)
	f.touched[w/pageWords].Store(true) // after the bits: take looks in the other order
}

// A freshWord is what take found in one word.
type freshWord struct {
	word int64
	bits uint64
}

// take takes out all bits that were set before it began, and perhaps some more.
func (f *freshBits) take() (found []freshWord) {
	for p := range f.touched {
		if !f.touched[p].Swap(false) {
			continue
		}
		for w := p * pageWords; w < min((p+1)*pageWords, len(f.bits)); w++ {
			if set := atomic.SwapUint64(&f.bits[w], 0); set != 0 {
				found = append(found, freshWord{int64(w), set})
			}
		}
	}
	return found
}
