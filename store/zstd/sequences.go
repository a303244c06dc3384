package zstd

import "math/bits"

// The three kinds of codes of a sequence, in the order of the format.
const (
	literalCodes = iota
	offsetCodes
	lengthCodes
)

// How the code of a kind is told.
const (
	predefined = 0
	oneSymbol  = 1
	described  = 2
)

// The longest codes, in bits, that are made.
var maxLogs = [3]uint{9, 8, 9}

// What codes stand for: the bits that follow each.
var (
	literalExtra = [64]uint8{16: 1, 1, 1, 1, 2, 2, 3, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	lengthExtra  = [64]uint8{32: 1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
)

// The codes of small numbers. Those of larger ones follow from their highest bit.
var (
	literalCode = codesOf(literalExtra[:], 64)
	lengthCode  = codesOf(lengthExtra[:], 128)
)

func codesOf(extra []uint8, n int) []uint8 {
	codes := make([]uint8, 0, n)
	for c, bits := range extra {
		for range 1 << bits {
			if len(codes) == n {
				return codes
			}
			codes = append(codes, uint8(c))
		}
	}
	return codes
}

func codeOfLiterals(n uint32) uint8 {
	if n < 64 {
		return literalCode[n]
	}
	return uint8(bits.Len32(n)) + 18
}

func codeOfLength(n uint32) uint8 {
	if n < 128 {
		return lengthCode[n]
	}
	return uint8(bits.Len32(n)) + 35
}

// The distributions that codes of few sequences have.
var predefinedTables = [3]fseTable{
	newTable(6, []int16{4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1, -1, -1, -1, -1}),
	newTable(5, []int16{1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1}),
	newTable(6, []int16{1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
		1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1}),
}

// fewSequences take the predefined distributions: to describe others does not pay.
const fewSequences = 40

// appendSequences appends the sequences of a block.
func (e *encoder) appendSequences(dst []byte) []byte {
	seqs := e.finder.sequences
	switch n := len(seqs); {
	case n == 0:
		return append(dst, 0)
	case n < 128:
		dst = append(dst, byte(n))
	case n < 0x7F00:
		dst = append(dst, byte(n>>8+128), byte(n))
	default:
		dst = le.AppendUint16(append(dst, 255), uint16(n-0x7F00))
	}
	modes := len(dst)
	dst = append(dst, 0)
	counts := e.encodeNumbers()
	var tables [3]*fseTable
	for kind := range tables {
		var mode byte
		tables[kind], mode, dst = e.choose(dst, kind, counts[kind][:])
		dst[modes] |= mode << (6 - 2*kind)
	}
	return e.appendBits(dst, tables)
}

// encodeNumbers sets the codes of the sequences, and counts them.
func (e *encoder) encodeNumbers() (counts [3][64]uint32) {
	n := len(e.finder.sequences)
	for kind := range e.codes {
		if cap(e.codes[kind]) < n {
			e.codes[kind] = make([]uint8, n, 2*n)
		}
		e.codes[kind] = e.codes[kind][:n]
	}
	lits, offs, lens := e.codes[literalCodes], e.codes[offsetCodes][:n], e.codes[lengthCodes][:n]
	for i := range lits {
		s := &e.finder.sequences[i]
		lits[i], offs[i], lens[i] = codeOfLiterals(s.literals), uint8(bits.Len32(s.offset)-1), codeOfLength(s.length)
		counts[literalCodes][lits[i]&63]++
		counts[offsetCodes][offs[i]&63]++
		counts[lengthCodes][lens[i]&63]++
	}
	return counts
}

// choose chooses the code of a kind by how often each symbol occurs, and appends
// its description.
func (e *encoder) choose(dst []byte, kind int, counts []uint32) (*fseTable, byte, []byte) {
	n := len(e.codes[kind])
	t := &e.tables[kind]
	if first := e.codes[kind][0]; counts[first] == uint32(n) {
		t.one()
		return t, oneSymbol, append(dst, first)
	}
	if n < fewSequences && e.fits(kind, counts) {
		return &predefinedTables[kind], predefined, dst
	}
	last := len(counts) - 1
	for counts[last] == 0 {
		last--
	}
	t.normalize(counts[:last+1], uint32(n), maxLogs[kind])
	dst = t.appendDescription(dst)
	t.build()
	return t, described, dst
}

// fits reports whether the predefined distribution has all symbols.
func (e *encoder) fits(kind int, counts []uint32) bool {
	for _, c := range counts[len(predefinedTables[kind].norm):] {
		if c > 0 {
			return false
		}
	}
	return true
}

// sequenceBits is how many bits a sequence takes at most: 26 for its codes, 16 and
// 16 after those of its lengths, and 30 after that of its offset.
const sequenceBits = 88

// roomyBits is how many bits may follow the codes of its lengths for a sequence to
// be added in one go: there are 7 that wait, 26 of codes, and 20 of an offset.
const roomyBits = 56 - 7 - 26 - 20

// appendBits appends codes and the bits that follow them, the last sequence
// first, since a decoder reads them backwards.
func (e *encoder) appendBits(dst []byte, tables [3]*fseTable) []byte {
	seqs := e.finder.sequences
	lits, offs, lens := e.codes[literalCodes][:len(seqs)], e.codes[offsetCodes][:len(seqs)], e.codes[lengthCodes][:len(seqs)]
	lt, ot, mt := tables[literalCodes], tables[offsetCodes], tables[lengthCodes]
	var w bitWriter
	w.reset(dst, (len(seqs)+1)*sequenceBits/8)
	var ls, os, ms uint32
	for i := len(seqs) - 1; i >= 0; i-- {
		l, o, m := lits[i]&63, offs[i]&63, lens[i]&63
		if i == len(seqs)-1 {
			ls, os, ms = lt.start(l), ot.start(o), mt.start(m)
		} else {
			os = ot.encode(&w, os, o)
			ms = mt.encode(&w, ms, m)
			ls = lt.encode(&w, ls, l)
		}
		s := &seqs[i]
		w.add(uint64(s.literals), uint(literalExtra[l]))
		if literalExtra[l]+lengthExtra[m] > roomyBits {
			w.flush()
		}
		w.add(uint64(s.length), uint(lengthExtra[m]))
		w.add(uint64(s.offset), uint(o))
		w.flush()
	}
	w.add(uint64(ms), mt.log)
	w.add(uint64(os), ot.log)
	w.add(uint64(ls), lt.log)
	return w.close()
}
