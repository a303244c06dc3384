// Package deflate opens the streams of deflate that a run of bytes holds, so that
// runs which differ little before they were compressed differ little again.
//
// A file within a zip archive, and so the text of an office document, is such a
// stream: after an edit all bits that follow have moved and nothing looks the
// same. To open a stream is to write what its bits say as whole bytes: the codes
// of each block, literal bytes, and copies as length and distance. Nothing is
// decompressed, and to close it again needs no knowledge of the program that made
// it: the same codes and the same steps are the same bits.
//
// The idea is that of Google's Puffin. The form is specified in
// docs/format/deflate.md.
package deflate

import (
	"encoding/binary"
	"fmt"
	"sync"

	"satchel/store"
)

var le = binary.LittleEndian

// MaxRun is the longest run that is opened, in bytes. What becomes of it has at
// most MaxOpen bytes.
const (
	MaxRun  = 4 << 20
	MaxOpen = 8 << 20
)

// A stream of fewer bytes than leastStream is not opened. No more than fewBlocks,
// and one for every perBlock bytes of the run, are looked at, so that no run takes
// much longer than others of its length.
const (
	leastStream = 64
	fewBlocks   = 256
	perBlock    = 256
)

// Open appends the open form of a run to dst. It returns dst as it was, and false,
// when the run holds no stream that can be opened, or is too long.
func Open(dst, run []byte) ([]byte, bool) {
	if len(run) > MaxRun {
		return dst, false
	}
	o := openers.Get().(*opener) //nolint:errcheck,forcetypeassert // it holds nothing else
	defer o.free()
	o.out, o.most, o.blocks = dst, len(dst)+MaxOpen, fewBlocks+len(run)/perBlock
	done := 0          // bytes of run that are in out
	vainly := len(run) // bytes that may still be read for nothing
	for at := range heads(run) {
		if vainly < 0 {
			break
		}
		if at < done {
			continue // within a stream
		}
		before := len(o.out)
		o.bytes(run[done:at])
		if n, ok := o.stream(run[at:]); ok && n >= leastStream {
			done = at + n
		} else {
			o.out = o.out[:before] // what looked like a head was none
			vainly -= n
		}
	}
	if done == 0 {
		return dst, false
	}
	o.bytes(run[done:])
	if len(o.out) > o.most {
		return dst, false
	}
	return o.out, true
}

// openers spare the memory of tables.
var openers = sync.Pool{New: func() any { return new(opener) }}

func (o *opener) free() {
	o.out, o.in = nil, bitReader{}
	openers.Put(o)
}

// bytes puts out bytes that are of no stream.
func (o *opener) bytes(b []byte) {
	o.out = append(binary.AppendUvarint(o.out, uint64(len(b))), b...)
}

// Close is the inverse of [Open]. What it appends to dst has at most limit bytes.
// It fails with [store.ErrCorrupt], and returns dst as it was.
func Close(dst, open []byte, limit int) ([]byte, error) {
	c := closer{in: open}
	c.out.b, c.out.most = dst, len(dst)+limit
	for {
		n, size := binary.Uvarint(c.in)
		if size <= 0 || n > uint64(len(c.in)-size) || n > uint64(limit) {
			return dst, fmt.Errorf("open form: bytes of no stream: %w", store.ErrCorrupt)
		}
		c.out.b = append(c.out.b, c.in[size:size+int(n)]...)
		if c.in = c.in[size+int(n):]; len(c.in) == 0 {
			break
		}
		if !c.stream() || len(c.out.b) > c.out.most {
			return dst, fmt.Errorf("open form: stream: %w", store.ErrCorrupt)
		}
	}
	if len(c.out.b) > c.out.most {
		return dst, fmt.Errorf("open form of more than %d bytes: %w", limit, store.ErrCorrupt)
	}
	return c.out.b, nil
}
