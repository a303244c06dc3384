// Package pack is the codec of pack files.
//
// A pack is a header, then frames, then a directory, then a footer. A frame
// holds several neighbouring chunks compressed together; it begins with the
// lengths of its chunks. The directory repeats where the frames lie and adds
// the IDs of their chunks, so that an index is rebuilt by reading directories
// alone. docs/format/pack.md specifies the bytes.
//
// Invariants:
//
//   - Every byte of a pack is covered by a checksum or by the IDs of chunks.
//   - Every length is bounded before memory is taken for it.
//   - A pack never changes.
//
// The one idea: a frame can be understood without the directory and the
// directory without the frames, so damage to one does not lose the other.
//
// The codec works on [io.Writer] and [io.ReaderAt] and knows no files. It is
// the only package that imports the decompressor.
package pack

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"satchel/store"
)

// Version is the version of the format that this build writes. It reads all
// versions up to that.
const Version = 2

// Limits of a pack. A reader refuses what exceeds them.
const (
	MaxSize        = 1 << 30                       // bytes of a pack
	MaxFrameChunks = 1024                          // chunks of a frame
	MaxFrameData   = 2 * store.MaxChunk            // plaintext bytes of a frame
	MaxChunks      = 1 << 20                       // chunks of a pack
	MaxFrame       = maxFrameHeader + MaxFrameData // bytes of a frame, header included
	maxFrameHeader = frameFixed + 4*MaxFrameChunks
)

// How many plaintext bytes a writer gathers before it closes a frame: enough
// that neighbours compress together, little enough that one read of one chunk
// decompresses little else. Frames of [Dense] chunks gain nothing from being
// long, so they are short: both sorts take about as much on disk and on a wire.
const (
	FrameTarget = 512 << 10
	DenseTarget = 128 << 10
)

const (
	headerMagic = "SATCHELp"
	footerMagic = "SATCHELe"
	frameMagic  = "SFRM"
	headerSize  = 8 + 4 + 4
	footerSize  = 4 + 4 + 4 + 4 + 8
	frameFixed  = 4 + 1 + 1 + 2 + 4 + 4 + 4 // a frame's header without lengths
	dirFrame    = 4 + 4 + 4                 // a frame in the directory, without chunks
	dirChunk    = 32 + 4
)

// A Chunk is a chunk as a directory lists it.
type Chunk struct {
	ID  store.ID
	Len int // plaintext bytes
}

// A Frame says where a frame lies in a pack and what it holds.
type Frame struct {
	Offset int64 // bytes from the start of the pack
	Len    int   // bytes on disk, header included
	Chunks []Chunk
}

var (
	le         = binary.LittleEndian
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// corrupt reports bytes that break the format.
func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %s", store.ErrCorrupt, fmt.Sprintf(format, args...))
}

func appendHeader(b []byte) []byte {
	start := len(b)
	b = append(b, headerMagic...)
	b = le.AppendUint32(b, Version)
	return le.AppendUint32(b, checksum(b[start:]))
}

// CheckHeader reports whether b, the first bytes of a file, begin a pack that
// this build reads. It fails with [store.ErrCorrupt] or [store.ErrNewer].
func CheckHeader(b []byte) error {
	if len(b) < headerSize {
		return corrupt("pack of %d bytes is shorter than its header", len(b))
	}
	if string(b[:8]) != headerMagic {
		return corrupt("pack header: magic %q: want %q", b[:8], headerMagic)
	}
	if checksum(b[:12]) != le.Uint32(b[12:]) {
		return corrupt("pack header: checksum does not match")
	}
	return checkVersion(le.Uint32(b[8:]))
}

// checkVersion judges a version whose checksum is right.
func checkVersion(v uint32) error {
	switch {
	case v > Version:
		return fmt.Errorf("pack version %d, this build reads versions up to %d: %w", v, Version, store.ErrNewer)
	case v < 1:
		return corrupt("pack version %d", v)
	}
	return nil
}
