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
	if err := w.begin(Pair, pairLen+(len(p.Base)+len(p.Target))*idLen); err != nil {
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
		w.write(p.Target[i][:])
	}
	return w.err
}

// Pair returns the pair of a record of that type, in memory of its own. It
// fails with [syncer.ErrMalformed] or [syncer.ErrTooLarge].
func (r Record) Pair() (syncer.Pair, error) {
	b := r.data
	base, target := int(le.Uint16(b[16:])), int(le.Uint16(b[18:]))
	if len(b) != pairLen+(base+target)*idLen || le.Uint64(b) > math.MaxInt64 || le.Uint64(b[8:]) > math.MaxInt64 {
		return syncer.Pair{}, fmt.Errorf("pair of %d and %d chunks in %d bytes: %w", base, target, len(b), syncer.ErrMalformed)
	}
	p := syncer.Pair{
		BaseOffset: int64(le.Uint64(b)), Offset: int64(le.Uint64(b[8:])),
		Base: make([]store.ID, base), Target: make([]store.ID, target),
	}
	b = b[pairLen:]
	for i := range p.Base {
		p.Base[i], b = store.ID(b), b[idLen:]
	}
	for i := range p.Target {
		p.Target[i], b = store.ID(b), b[idLen:]
	}
	return p, p.Check()
}

// Delta writes a record with the delta of a pair, which is named by its number
// among the pairs of the request, or of the stream before it.
func (w *Writer) Delta(pair int, d syncer.Delta) error {
	return w.record(Delta, d.Append(le.AppendUint32(nil, uint32(pair))))
}

// Delta returns the number of a pair and its delta, the data of which is valid
// until the next read. It fails with [syncer.ErrMalformed] or
// [syncer.ErrTooLarge].
func (r Record) Delta() (pair int, d syncer.Delta, err error) {
	d, err = syncer.ParseDelta(r.data[deltaLen:])
	return int(le.Uint32(r.data)), d, err
}
