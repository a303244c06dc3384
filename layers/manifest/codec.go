package manifest

import (
	"encoding/binary"
	"fmt"

	"satchel/store"
)

// corrupt reports a chunk that breaks the format.
func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{store.ErrCorrupt}, args...)...)
}

func appendHeader(b []byte, kind byte) []byte {
	return append(append(b, Magic...), kind, Version)
}

func appendBytes[T string | []byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// A reader takes fields off a chunk. After the first error it returns zeros, so
// that a decoder may ask once, at the end of what it reads.
type reader struct {
	b    []byte
	err  error
	disk bool // it is a version of disk form
}

// newReader checks the header of a chunk that should hold kind.
func newReader(b []byte, kind byte) *reader {
	r := &reader{b: b}
	switch {
	case len(b) < headerLen || string(b[:len(Magic)]) != Magic:
		r.fail("not a manifest chunk")
	case b[len(Magic)+1] == diskVersion && kind == kindVersion && b[len(Magic)] == kind:
		r.b, r.disk = b[headerLen:], true
	case b[len(Magic)+1] > Version:
		r.b, r.err = nil, fmt.Errorf("manifest format %d, this program reads %d: %w", b[len(Magic)+1], Version, store.ErrNewer)
	case b[len(Magic)+1] != Version:
		r.fail("manifest format %d, this program reads %d", b[len(Magic)+1], Version)
	case b[len(Magic)] != kind:
		r.fail("manifest chunk of kind %q, want %q", b[len(Magic)], kind)
	default:
		r.b = b[headerLen:]
	}
	return r
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = corrupt(format, args...)
	}
	r.b = nil
}

// end reports the first error, or bytes left over.
func (r *reader) end() error {
	if r.err == nil && len(r.b) > 0 {
		r.fail("%d bytes too many", len(r.b))
	}
	return r.err
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.fail("cut short")
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

// take returns the next n bytes, which alias the chunk.
func (r *reader) take(n int) []byte {
	if n > len(r.b) {
		r.fail("cut short")
		return nil
	}
	s := r.b[:n]
	r.b = r.b[n:]
	return s
}

// uvarint reads a number of at most limit. Only the shortest form is taken.
func (r *reader) uvarint(limit uint64, what string) uint64 {
	v, n := binary.Uvarint(r.b)
	switch {
	case n <= 0:
		r.fail("%s: not a number", what)
		return 0
	case n > 1 && r.b[n-1] == 0:
		r.fail("%s: not in its shortest form", what)
		return 0
	case v > limit:
		r.fail("%s: %d is more than %d", what, v, limit)
		return 0
	}
	r.b = r.b[n:]
	return v
}

// varint reads a signed number in zig-zag form.
func (r *reader) varint(what string) int64 {
	u := r.uvarint(1<<64-1, what)
	return int64(u>>1) ^ -int64(u&1)
}

// bytes reads a length of at most limit and that many bytes, which alias the
// chunk.
func (r *reader) bytes(limit int, what string) []byte {
	return r.take(int(r.uvarint(uint64(limit), what)))
}

func (r *reader) id() (id store.ID) {
	copy(id[:], r.take(len(id)))
	return id
}
