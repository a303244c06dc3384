package chunk

import (
	"errors"
	"io"

	"github.com/restic/chunker"
)

// A Splitter cuts streams into chunks. It keeps its buffers from one stream to
// the next; it must not be used by two goroutines at once.
type Splitter struct {
	d    Domain
	base *chunker.BaseChunker
	buf  []byte // holds the chunk being gathered, from its first byte
}

// readAhead is how many bytes a splitter asks for at once, beyond the longest
// chunk.
const readAhead = 256 << 10

// NewSplitter returns a splitter that cuts where the domain says. The domain
// must be one that [Domain.Check] finds right.
func NewSplitter(d Domain) *Splitter {
	s := &Splitter{d: d, buf: make([]byte, d.Max+readAhead)}
	s.reset()
	return s
}

func (s *Splitter) reset() {
	s.base = chunker.NewBase(chunker.Pol(s.d.Polynomial),
		chunker.WithBaseBoundaries(uint(s.d.Min), uint(s.d.Max)),
		chunker.WithBaseAverageBits(s.d.AverageBits))
}

// Split reads r to its end and calls emit with each chunk in order. The chunk
// is valid only until emit returns. An empty stream has no chunks. Split stops
// at the first error of r or emit and returns it.
func (s *Splitter) Split(r io.Reader, emit func(chunk []byte) error) error {
	start, scanned, end := 0, 0, 0 // of buf: this chunk, what was searched, what was read
	clean := true                  // no byte has gone into the rolling checksum since the last cut
	defer func() {
		if !clean {
			s.reset()
		}
	}()
	for {
		for scanned < end {
			n := s.base.NextSplitPoint(s.buf[scanned:end])
			if clean = n >= 0; !clean {
				break
			}
			scanned += n
			if err := emit(s.buf[start:scanned]); err != nil {
				return err
			}
			start = scanned
		}
		// No cut within a chunk's longest length is impossible, so at least
		// readAhead bytes are free after the move.
		end = copy(s.buf, s.buf[start:end])
		start, scanned = 0, end
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
