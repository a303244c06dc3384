package nbd

import (
	"encoding/binary"
	"os"
)

// A piece of a reply is some bytes, or a part of a file.
type piece struct {
	data []byte
	file *os.File // nil: data
	off  int64    // in the file
	n    int64    // bytes of the file
}

// A reply is what goes to the client for one request: a list of pieces that
// are written in one go.
type reply struct {
	pieces []piece
	data   *[]byte // pooled, goes back when the reply is written
	cost   int64   // bytes in flight that end with it
}

// simple is a simple reply, which a read's data may follow.
func (t *transmission) simple(r *request, e errno) reply {
	b := binary.BigEndian.AppendUint32(make([]byte, 0, 16), magicSimple)
	b = binary.BigEndian.AppendUint32(b, uint32(e))
	b = binary.BigEndian.AppendUint64(b, r.cookie)
	return reply{pieces: []piece{{data: b}}}
}

// fail is the reply to a request that was refused or failed.
func (t *transmission) fail(r *request, e errno) reply {
	t.device.count.errors.Add(1)
	// Only a read and a block status must be answered in the form agreed on.
	if t.structured && (r.cmd == cmdRead || r.cmd == cmdBlockStatus) {
		b := chunkHead(r, chunkDone, chunkError, 6)
		b = binary.BigEndian.AppendUint32(b, uint32(e))
		return reply{pieces: []piece{{data: binary.BigEndian.AppendUint16(b, 0)}}}
	}
	return t.simple(r, e)
}

// chunkHead begins a chunk whose payload has n bytes.
func chunkHead(r *request, flags, kind uint16, n int) []byte {
	b := binary.BigEndian.AppendUint32(make([]byte, 0, 20+12), magicStructured)
	b = binary.BigEndian.AppendUint16(b, flags)
	b = binary.BigEndian.AppendUint16(b, kind)
	b = binary.BigEndian.AppendUint64(b, r.cookie)
	return binary.BigEndian.AppendUint32(b, uint32(n))
}

// dataChunk says that n bytes read at off follow.
func dataChunk(r *request, off int64, n int) []byte {
	return binary.BigEndian.AppendUint64(chunkHead(r, 0, chunkData, 8+n), uint64(off))
}

// holeChunk says that n bytes at off are zeroes.
func holeChunk(r *request, off, n int64) []byte {
	b := chunkHead(r, 0, chunkHole, 12)
	b = binary.BigEndian.AppendUint64(b, uint64(off))
	return binary.BigEndian.AppendUint32(b, uint32(n))
}

// finish marks the chunk that head begins as the last of its request.
func finish(head []byte) { binary.BigEndian.PutUint16(head[4:], chunkDone) }
