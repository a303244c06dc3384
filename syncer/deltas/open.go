package deltas

import (
	"bytes"
	"fmt"

	"satchel/store"
	"satchel/store/deflate"
	"satchel/store/delta"
	"satchel/syncer"
)

// goodEnough is by how much a delta of open forms must be shorter than its target
// for the other way not to be tried.
const goodEnough = 8

// encode codes a delta: of the open forms if both have one, and if that is the
// shorter delta. It returns how long the target's open form is, or 0.
func encode(base, target delta.Span) (data []byte, opened int) {
	forms := newForms()
	defer forms.free()
	from, to, ok := forms.of(base, target)
	if !ok {
		return delta.Encode(nil, base, target), 0
	}
	data = delta.Encode(nil, from, to)
	if len(data) > len(target.Data)/goodEnough {
		if other := delta.Encode(nil, base, target); len(other) < len(data) {
			return other, 0
		}
	}
	return data, len(to.Data)
}

// decode returns what a delta makes, in the memory of buf. It fails with
// [store.ErrCorrupt].
func decode(buf *[]byte, base delta.Span, offset int64, d *syncer.Delta) (_ []byte, err error) {
	if d.Open == 0 {
		*buf, err = delta.Decode((*buf)[:0], base, offset, d.Size(), d.Data)
		return *buf, err
	}
	forms := newForms()
	defer forms.free()
	base, ok := open(forms.first, base)
	if !ok {
		return nil, fmt.Errorf("a base without an open form: %w", store.ErrCorrupt)
	}
	made, err := delta.Decode((*forms.second)[:0], base, offset, d.Open, d.Data)
	if err != nil {
		return nil, err
	}
	*forms.second = made
	if *buf, err = deflate.Close((*buf)[:0], made, d.Size()); err == nil && len(*buf) != d.Size() {
		err = fmt.Errorf("open form of %d bytes, not %d: %w", len(*buf), d.Size(), store.ErrCorrupt)
	}
	return *buf, err
}

// forms is memory for the open forms of a base and a target.
type forms struct{ first, second *[]byte }

func newForms() forms {
	return forms{buffers.Get().(*[]byte), buffers.Get().(*[]byte)} //nolint:errcheck,forcetypeassert // it holds nothing else
}

func (f forms) free() {
	buffers.Put(f.first)
	buffers.Put(f.second)
}

// of returns the open forms of a base and a target, if both have one, and the target
// can be made from its.
func (f forms) of(base, target delta.Span) (from, to delta.Span, ok bool) {
	if from, ok = open(f.first, base); !ok {
		return from, to, false
	}
	if to, ok = open(f.second, target); !ok {
		return from, to, false
	}
	closed := buffers.Get().(*[]byte) //nolint:errcheck,forcetypeassert // it holds nothing else
	defer buffers.Put(closed)
	var err error
	*closed, err = deflate.Close((*closed)[:0], to.Data, len(target.Data))
	return from, to, err == nil && bytes.Equal(*closed, target.Data)
}

// open returns the open form of a run, in the memory of buf.
func open(buf *[]byte, run delta.Span) (_ delta.Span, ok bool) {
	if *buf, ok = deflate.Open((*buf)[:0], run.Data); ok {
		run.Data = *buf
	}
	return run, ok
}
