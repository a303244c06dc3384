package index

import (
	"fmt"
	"hash/crc32"

	"satchel/store"
	"satchel/store/pack"
)

// A Location says where a chunk lies.
type Location struct {
	Pack     string // name of the pack
	Offset   int64  // of the frame in the pack, in bytes
	FrameLen int    // bytes of the frame on disk
	Start    int    // of the chunk in the frame's plaintext, in bytes
	Len      int    // plaintext bytes of the chunk
}

// A Pack is a pack that the index names.
type Pack struct {
	Name  string
	Size  int64 // bytes of the file
	Bytes int64 // plaintext bytes of its chunks, live or not
}

// Limits of a pack's name, in bytes.
const (
	minName = 4
	maxName = 64
)

// encode returns the pack as it is stored.
func (p Pack) encode() []byte {
	b := be.AppendUint64(nil, uint64(p.Size))
	b = be.AppendUint64(b, uint64(p.Bytes))
	b = append(b, p.Name...)
	return be.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// parsePack is the inverse of encode. It takes only names that are safe as the
// name of a file.
func parsePack(b []byte) (Pack, error) {
	n := len(b) - 20
	if n < minName || n > maxName || crc32.Checksum(b[:len(b)-4], castagnoli) != be.Uint32(b[len(b)-4:]) {
		return Pack{}, fmt.Errorf("index record of a pack: %w: %d bytes, or the checksum does not match", store.ErrCorrupt, len(b))
	}
	p := Pack{Name: string(b[16 : 16+n]), Size: int64(be.Uint64(b)), Bytes: int64(be.Uint64(b[8:]))}
	for _, c := range []byte(p.Name) {
		if c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return Pack{}, fmt.Errorf("index record of a pack: %w: name %q", store.ErrCorrupt, p.Name)
		}
	}
	return p, nil
}

// parseNumbered reads the pack of a number that a record names; b is nil if
// there is none.
func parseNumbered(number uint32, b []byte) (Pack, error) {
	if b == nil {
		return Pack{}, fmt.Errorf("%w: index has no pack %d", store.ErrCorrupt, number)
	}
	return parsePack(b)
}

// record is a location as it is stored.
type record struct {
	pack, offset, frameLen, start, len uint32
}

const recordSize = 6 * 4

// in returns the location in the pack that the record names.
func (r record) in(p Pack) Location {
	return Location{Pack: p.Name, Offset: int64(r.offset), FrameLen: int(r.frameLen), Start: int(r.start), Len: int(r.len)}
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encode returns the record of a chunk; the checksum at its end covers the
// chunk's ID too.
func (r record) encode(id store.ID) []byte {
	b := make([]byte, 0, recordSize)
	for _, v := range [...]uint32{r.pack, r.offset, r.frameLen, r.start, r.len} {
		b = be.AppendUint32(b, v)
	}
	return be.AppendUint32(b, recordSum(id, b))
}

func recordSum(id store.ID, b []byte) uint32 {
	return crc32.Update(crc32.Checksum(id[:], castagnoli), castagnoli, b)
}

// parseRecord is the inverse of encode.
func parseRecord(id store.ID, b []byte) (record, error) {
	if len(b) != recordSize {
		return record{}, fmt.Errorf("index record of chunk %s: %w: %d bytes: want %d", id.Short(), store.ErrCorrupt, len(b), recordSize)
	}
	if recordSum(id, b[:recordSize-4]) != be.Uint32(b[recordSize-4:]) {
		return record{}, fmt.Errorf("index record of chunk %s: %w: checksum does not match", id.Short(), store.ErrCorrupt)
	}
	r := record{be.Uint32(b), be.Uint32(b[4:]), be.Uint32(b[8:]), be.Uint32(b[12:]), be.Uint32(b[16:])}
	if r.len == 0 || r.len > store.MaxChunk || r.start > pack.MaxFrameData || r.offset > pack.MaxSize {
		return record{}, fmt.Errorf("index record of chunk %s: %w: impossible place", id.Short(), store.ErrCorrupt)
	}
	return r, nil
}
