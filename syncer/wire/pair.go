package wire

import (
	"encoding/binary"
	"fmt"
	"math"

	"satchel/store"
	"satchel/syncer"
)

var le = binary.LittleEndian

// Pair writes a record that names the chunks of a pair.
func (w *Writer) Pair(p syncer.Pair) error {
	if w.err == nil {
		if err := p.Check(); err != nil {
			w.fail(err)
		}
	}
	if err := w.begin(Pair, pairLen+len(p.Base)*idLen+len(p.Target)*(idLen+4)); err != nil {
		return err
	}
	head := le.AppendUint64(nil, uint64(p.BaseOffset))
	head = le.AppendUint64(head, uint64(p.Offset))
	head = le.AppendUint16(head, uint16(len(p.Base)))
	w.write(le.AppendUint16(head, uint16(len(p.Target))))
	for i := range p.Base {
		w.write(p.Base[i][:])
	}
	for i := range p.Target {
		w.write(le.AppendUint32(p.Target[i][:], uint32(p.Lens[i])))
	}
	return w.err
}

// Pair returns the pair of a record of that type, in memory of its own. It
// fails with [syncer.ErrMalformed] or [syncer.ErrTooLarge].
func (r Record) Pair() (syncer.Pair, error) {
	b := r.data
	base, target := int(le.Uint16(b[16:])), int(le.Uint16(b[18:]))
	if len(b) != pairLen+base*idLen+target*(idLen+4) || le.Uint64(b) > math.MaxInt64 || le.Uint64(b[8:]) > math.MaxInt64 {
		return syncer.Pair{}, fmt.Errorf("pair of %d and %d chunks in %d bytes: %w", base, target, len(b), syncer.ErrMalformed)
	}
	p := syncer.Pair{
		BaseOffset: int64(le.Uint64(b)), Offset: int64(le.Uint64(b[8:])),
		Base: make([]store.ID, base), Target: make([]store.ID, target), Lens: make([]int, target),
	}
	b = b[pairLen:]
	for i := range p.Base {
		p.Base[i], b = store.ID(b), b[idLen:]
	}
	for i := range p.Target {
		p.Target[i], p.Lens[i], b = store.ID(b), int(le.Uint32(b[idLen:])), b[idLen+4:]
	}
	return p, p.Check()
}

// Delta writes a record with the delta of a pair, which is named by its number
// among the pairs of the request, or of the stream before it.
func (w *Writer) Delta(pair int, data []byte) error {
	if err := w.begin(Delta, deltaLen+len(data)); err != nil {
		return err
	}
	w.write(le.AppendUint32(nil, uint32(pair)))
	w.write(data)
	return w.err
}

// Delta returns the number of a pair and its delta, which is valid until the
// next read.
func (r Record) Delta() (pair int, data []byte) {
	return int(le.Uint32(r.data)), r.data[deltaLen:]
}
