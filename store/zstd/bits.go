package zstd

import "slices"

// A bitWriter appends bits, the lowest first.
type bitWriter struct {
	out  []byte
	at   int // where the next byte goes
	word uint64
	n    uint // bits in word: fewer than 8 after flush
}

// reset begins after dst, to which no more than most bytes will be added.
func (w *bitWriter) reset(dst []byte, most int) {
	most += 16 // each flush writes eight bytes, of which less counts
	w.at, w.word, w.n = len(dst), 0, 0
	w.out = slices.Grow(dst, most)[:len(dst)+most]
}

// add writes the lowest n bits of v. No more than 56 may be added between two
// calls of flush.
func (w *bitWriter) add(v uint64, n uint) {
	w.word |= v & (1<<(n&63) - 1) << (w.n & 63)
	w.n += n
}

func (w *bitWriter) flush() {
	le.PutUint64(w.out[w.at:], w.word)
	w.at += int(w.n >> 3)
	w.word >>= w.n & 56
	w.n &= 7
}

// end fills the last byte with zeros and returns what was written.
func (w *bitWriter) end() []byte {
	w.n += 7
	w.flush()
	return w.out[:w.at]
}

// close marks the end by a bit that is set, for a reader that comes from there.
func (w *bitWriter) close() []byte {
	w.flush()
	w.add(1, 1)
	return w.end()
}
