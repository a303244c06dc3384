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
	if err := w.begin(Pair, pairLen+p.Chunks()*idLen); err != nil {
		return err
	}
	head := []byte{0}
	if p.Sketch {
		head[0] = 1
	}
	head = le.AppendUint64(head, uint64(p.BaseOffset))
	head = le.AppendUint64(head, uint64(p.Offset))
	head = le.AppendUint16(head, uint16(len(p.Others)))
	head = le.AppendUint16(head, uint16(len(p.Base)))
	w.write(le.AppendUint16(head, uint16(len(p.Target))))
	for _, ids := range [][]store.ID{p.Others, p.Base, p.Target} {
		for i := range ids {
			w.write(ids[i][:])
		}
	}
	return w.err
}

// Pair returns the pair of a record of that type, in memory of its own. It
// fails with [syncer.ErrMalformed] or [syncer.ErrTooLarge].
func (r Record) Pair() (syncer.Pair, error) {
	b := r.data
	others, base, target := int(le.Uint16(b[17:])), int(le.Uint16(b[19:])), int(le.Uint16(b[21:]))
	if len(b) != pairLen+(others+base+target)*idLen || b[0] > 1 || le.Uint64(b[1:]) > math.MaxInt64 || le.Uint64(b[9:]) > math.MaxInt64 {
		return syncer.Pair{}, fmt.Errorf("pair of %d, %d and %d chunks in %d bytes: %w", others, base, target, len(b), syncer.ErrMalformed)
	}
	p := syncer.Pair{
		Sketch: b[0] == 1, BaseOffset: int64(le.Uint64(b[1:])), Offset: int64(le.Uint64(b[9:])),
		Others: make([]store.ID, others), Base: make([]store.ID, base), Target: make([]store.ID, target),
	}
	b = b[pairLen:]
	for _, ids := range [][]store.ID{p.Others, p.Base, p.Target} {
		for i := range ids {
			ids[i], b = store.ID(b), b[idLen:]
		}
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

// Sketch writes a record with the sketch of a pair, which is named by its number
// among the pairs of the request.
func (w *Writer) Sketch(pair int, s syncer.Sketch) error {
	return w.record(Sketch, s.Append(le.AppendUint32(nil, uint32(pair))))
}

// Sketch returns the number of a pair and its sketch, in memory of its own.
func (r Record) Sketch() (pair int, s syncer.Sketch) {
	return int(le.Uint32(r.data)), syncer.ParseSketch(r.data[deltaLen:])
}
