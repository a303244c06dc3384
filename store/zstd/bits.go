package zstd

// A bitWriter appends bits, the lowest first.
type bitWriter struct {
	out  []byte
	word uint64
	n    uint // bits in word: fewer than 8 after flush
}

func (w *bitWriter) reset(dst []byte) { w.out, w.word, w.n = dst, 0, 0 }

// add writes the lowest n bits of v. No more than 56 may be added between two
// calls of flush.
func (w *bitWriter) add(v uint64, n uint) {
	w.word |= v & (1<<(n&63) - 1) << (w.n & 63)
	w.n += n
}

func (w *bitWriter) flush() {
	w.out = le.AppendUint64(w.out, w.word)
	w.out = w.out[:len(w.out)-8+int(w.n>>3)]
	w.word >>= w.n & 56
	w.n &= 7
}

// end fills the last byte with zeros and returns what was written.
func (w *bitWriter) end() []byte {
	w.n += 7
	w.flush()
	return w.out
}

// close marks the end by a bit that is set, for a reader that comes from there.
func (w *bitWriter) close() []byte {
	w.flush()
	w.add(1, 1)
	return w.end()
}
