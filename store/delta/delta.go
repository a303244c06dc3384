// Package delta codes a run of bytes as its difference from a similar run.
package delta

import (
	"fmt"
	"sync"

	"satchel/store"
)

const (
	MaxBase   = 16 << 20
	MaxTarget = 8 << 20
)

// A Span is a run of a file: its bytes, and where in the file they begin.
type Span struct {
	Data   []byte
	Offset int64
}

const (
	methodRaw   = 0
	methodCoded = 1
	methodX86   = 2
)

var encoders = sync.Pool{New: func() any { return new(encoder) }}

func Encode(dst []byte, base, target Span) []byte {
	start := len(dst)
	if len(base.Data) > MaxBase || len(target.Data) > MaxTarget || len(target.Data) == 0 {
		return append(append(dst, methodRaw), target.Data...)
	}
	e := encoders.Get().(*encoder)
	defer encoders.Put(e)
	method := byte(methodCoded)
	need := len(base.Data) + len(target.Data)
	if cap(e.buf) < need {
		e.buf = make([]byte, need)
	}
	e.buf = append(append(e.buf[:0], base.Data...), target.Data...)
	e.baseLen = len(base.Data)
	x86 := wantsX86(target)
	if x86 {
		method = methodX86
		transform(e.buf[:e.baseLen], base.Offset)
		transform(e.buf[e.baseLen:], target.Offset)
	}
	e.finder.reset(need)
	e.insertBase()
	e.model.reset(startDist(base, target), len(target.Data))
	e.c.reset(false, append(dst, method))
	e.encode()
	out := e.c.finish()
	e.c.out = nil
	if len(out)-start > len(target.Data) {
		return append(append(out[:start], methodRaw), target.Data...)
	}
	return out
}

func startDist(base, target Span) uint32 {
	if len(base.Data) == 0 {
		return 0
	}
	d := int64(len(base.Data)) - (target.Offset - base.Offset)
	if d <= 0 || d > int64(len(base.Data)) {
		return uint32(len(base.Data))
	}
	return uint32(d)
}

type decoder struct {
	model
	base []byte
}

var decoders = sync.Pool{New: func() any { return new(decoder) }}

func Decode(dst []byte, base Span, offset int64, size int, delta []byte) ([]byte, error) {
	if len(delta) == 0 {
		return dst, fmt.Errorf("delta: empty: %w", store.ErrCorrupt)
	}
	switch delta[0] {
	case methodRaw:
		if len(delta)-1 != size {
			return dst, fmt.Errorf("delta: raw: %w", store.ErrCorrupt)
		}
		return append(dst, delta[1:]...), nil
	}
	if delta[0] > methodX86 || len(base.Data) > MaxBase || size < 0 || size > MaxTarget {
		return dst, fmt.Errorf("delta: %w", store.ErrCorrupt)
	}
	d := decoders.Get().(*decoder)
	defer decoders.Put(d)
	d.base = append(d.base[:0], base.Data...)
	if delta[0] == methodX86 {
		transform(d.base, base.Offset)
	}
	d.model.reset(startDist(base, Span{Offset: offset}), size)
	d.c.reset(true, delta[1:])
	start := len(dst)
	if cap(dst)-start < size {
		dst = append(make([]byte, 0, start+size), dst...)
	}
	out := dst[start : start+size]
	if !d.decode(out) {
		return dst, fmt.Errorf("delta: %w", store.ErrCorrupt)
	}
	whole := d.c.pos == len(d.c.in)
	d.c.in = nil
	if !whole {
		return dst, fmt.Errorf("delta: length: %w", store.ErrCorrupt)
	}
	if delta[0] == methodX86 {
		untransform(out, offset)
	}
	return dst[:start+size], nil
}

func (d *decoder) decode(out []byte) bool {
	base := d.base
	c1, c2, c3 := d.at(out, -1), d.at(out, -2), d.at(out, -3)
	for i := 0; i < len(out); {
		if d.c.pos > len(d.c.in)+8 {
			return false
		}
		if d.isMatch(c1, 0) == 0 {
			like := d.at(out, i-int(d.reps[0]))
			v := d.lit.code(&d.c, 0, c1, c2, c3, like, d.run)
			d.run = min(d.run+1, 3)
			d.note(kindLiteral)
			out[i] = v
			i++
			c1, c2, c3 = v, c1, c2
			continue
		}
		t := d.codeMatch(token{}, len(base)+i, len(base))
		d.run = 0
		if t.length > len(out)-i || t.dist == 0 || int(t.dist) > len(base)+i {
			return false
		}
		dist := int(t.dist)
		if dist > i {
			j := len(base) + i - dist
			if j+t.length > len(base) {
				return false
			}
			copy(out[i:], base[j:j+t.length])
		} else if dist >= t.length {
			copy(out[i:], out[i-dist:i-dist+t.length])
		} else {
			for k := range t.length {
				out[i+k] = out[i+k-dist]
			}
		}
		i += t.length
		c1, c2, c3 = d.at(out, i-1), d.at(out, i-2), d.at(out, i-3)
	}
	return true
}

// at returns the byte at place i of the target, or of the base that ends
// where it begins, and 0 before that.
func (d *decoder) at(out []byte, i int) byte {
	if i >= 0 {
		return out[i]
	}
	if i += len(d.base); i >= 0 {
		return d.base[i]
	}
	return 0
}
