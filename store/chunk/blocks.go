package chunk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
)

// blockTail is how many zeros at the end of a block make a cut: the rest of
// the last block of a file is zeros in most file systems.
const blockTail = 32

var zeroTail [blockTail]byte

// SplitBlocks is [Splitter.Split] for disk images: it cuts between blocks of
// the domain's Block bytes, counted from the start of the stream. A block ends
// a chunk when its hash says so, when it ends in zeros, or when the next one
// would make the chunk longer than Max. So a file that lies in two images,
// wherever it lies, makes the same chunks in both. The domain's Block must not
// be zero.
func (s *Splitter) SplitBlocks(r io.Reader, emit func(chunk []byte) error) error {
	start, scanned, end := 0, 0, 0 // of buf: this chunk, what was searched, what was read
	for {
		for scanned+s.d.Block <= end {
			scanned += s.d.Block
			if !s.d.EndsChunk(s.buf[start:scanned]) {
				continue
			}
			if err := emit(s.buf[start:scanned]); err != nil {
				return err
			}
			start = scanned
		}
		end = copy(s.buf, s.buf[start:end])
		start, scanned = 0, scanned-start
		n, err := io.ReadFull(r, s.buf[end:])
		end += n
		switch {
		case err == nil || errors.Is(err, io.ErrUnexpectedEOF):
			continue // the end of the stream is met again by the next read
		case !errors.Is(err, io.EOF):
			return err
		case end > 0:
			return emit(s.buf[:end])
		default:
			return nil
		}
	}
}

// EndsChunk reports whether a chunk of a disk image ends with its last block.
// The chunk has whole blocks, at least one.
func (d Domain) EndsChunk(chunk []byte) bool {
	if len(chunk)+d.Block > d.Max {
		return true
	}
	block := chunk[len(chunk)-d.Block:]
	if bytes.HasSuffix(block, zeroTail[:]) {
		return true
	}
	id := d.ID(block)
	return binary.LittleEndian.Uint32(id[:])&(1<<d.BlockBits-1) == 0
}

// ForDisks returns the domain by which disks are cut: the same one, with the
// usual blocks if it knows none.
func (d Domain) ForDisks() Domain {
	if d.Block == 0 {
		d.Block, d.BlockBits = defaultBlock, defaultBlockBits
		d.Max = max(d.Max, d.Block)
	}
	return d
}
