// Package trace is the codec of boot traces: which chunks the guest of a stack
// needs until it is up, in the order in which it needs them first.
//
// A trace belongs to the read-only versions of a stack, which its ID is made of.
// It is advice: a wrong one costs time, and nothing else. The format is specified
// in docs/format/trace.md.
package trace

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"satchel/store"
	"satchel/store/chunk"
	"satchel/syncer"
)

// What a trace may have at most.
const (
	MaxLayers = 256
	MaxChunks = 32768
)

const (
	magic   = "SLTR"
	version = 1

	headLen  = len(magic) + 4 + 2
	layerLen = 16 + 32
	idLen    = 32

	// MaxBytes is the longest encoded trace.
	MaxBytes = headLen + MaxLayers*layerLen + 4 + MaxChunks*idLen + crc32.Size
)

// A Layer is a read-only layer of a stack, at one version.
type Layer struct {
	Layer   store.LayerID
	Version store.ID
}

// A Trace is the chunks that one boot needed.
type Trace struct {
	Stack  []Layer    // lowest first
	Chunks []store.ID // in the order of their first use
}

// StackID names the trace of a stack, under the key of a domain.
func StackID(d chunk.Domain, stack []Layer) store.ID {
	b := []byte("satchel stack 1")
	for _, l := range stack {
		b = append(append(b, l.Layer[:]...), l.Version[:]...)
	}
	return d.ID(b)
}

// Encode returns the encoded trace. What is beyond [MaxChunks] is left out.
func (t *Trace) Encode() []byte {
	chunks := t.Chunks[:min(len(t.Chunks), MaxChunks)]
	b := binary.LittleEndian.AppendUint32([]byte(magic), version)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(t.Stack))) //nolint:gosec // stacks are short
	for _, l := range t.Stack {
		b = append(append(b, l.Layer[:]...), l.Version[:]...)
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(chunks))) //nolint:gosec // it is bounded
	for _, id := range chunks {
		b = append(b, id[:]...)
	}
	return binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
}

// Decode reads an encoded trace. It fails with [syncer.ErrMalformed], or with
// [store.ErrNewer].
func Decode(b []byte) (*Trace, error) {
	bad := func(what string) (*Trace, error) { return nil, fmt.Errorf("trace: %s: %w", what, syncer.ErrMalformed) }
	switch {
	case len(b) > MaxBytes:
		return bad("too long")
	case len(b) < headLen || string(b[:len(magic)]) != magic:
		return bad("no trace")
	}
	if v := binary.LittleEndian.Uint32(b[len(magic):]); v != version {
		return nil, fmt.Errorf("trace of version %d: %w", v, store.ErrNewer)
	}
	layers := int(binary.LittleEndian.Uint16(b[headLen-2:]))
	rest := b[headLen:]
	if layers == 0 || layers > MaxLayers || len(rest) < layers*layerLen+4 {
		return bad("a stack that it cannot have")
	}
	t := &Trace{Stack: make([]Layer, layers)}
	for i := range t.Stack {
		t.Stack[i] = Layer{store.LayerID(rest[:16]), store.ID(rest[16:layerLen])}
		rest = rest[layerLen:]
	}
	n := binary.LittleEndian.Uint32(rest)
	rest = rest[4:]
	if n > MaxChunks || len(rest) != int(n)*idLen+crc32.Size {
		return bad("another number of chunks than it says")
	}
	if binary.LittleEndian.Uint32(rest[n*idLen:]) != crc32.ChecksumIEEE(b[:len(b)-crc32.Size]) {
		return bad("its checksum is wrong")
	}
	t.Chunks = make([]store.ID, n)
	for i := range t.Chunks {
		t.Chunks[i] = store.ID(rest[i*idLen : (i+1)*idLen])
	}
	return t, nil
}

// MediaType is that of encoded traces.
const MediaType = "application/vnd.satchel.trace"
