package agent

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// Sizes of the format.
const (
	HeaderSize = 16        // bytes before the payload
	MaxPayload = 64 << 10  // bytes of payload that a frame may hold
	Window     = 256 << 10 // bytes of data frames, headers included, sent ahead of credit
	version    = 1
)

// The first bytes of every frame.
const magic0, magic1 = 0xA5, 'S'

// ErrGarbled says that bytes which are no frame came where a frame was due.
var ErrGarbled = errors.New("bytes that are no frame")

// A Type says what a frame is for.
type Type uint8

// The types of frame. The numbers are part of the format.
const (
	TypeHello   Type = iota + 1 // host: starts a session; JSON [Hello]
	TypeWelcome                 // guest: answers it; JSON [Welcome]
	TypeRequest                 // host: opens a stream; JSON [Request]
	TypeReply                   // guest: ends a stream; JSON [Reply]
	TypeStdin                   // host: data; empty: end of input
	TypeStdout                  // guest: data
	TypeStderr                  // guest: data
	TypeCredit                  // both: uint32, bytes that the other may send more
	TypeSignal                  // host: uint32, signal for the process
	TypeResize                  // host: 2 × uint16, rows and columns
	TypeClose                   // host: gives the stream up
	typeEnd
)

// isData reports whether frames of this type need credit.
func (t Type) isData() bool { return t == TypeStdin || t == TypeStdout || t == TypeStderr }

// A Frame is one message of one stream.
type Frame struct {
	Type    Type
	Stream  uint32 // 0 for hello and welcome
	Payload []byte // at most MaxPayload
}

// cost is what the frame takes from a window.
func (f Frame) cost() int { return HeaderSize + len(f.Payload) }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// AppendFrame appends the frame's encoding to dst. The payload must not be
// longer than [MaxPayload].
func AppendFrame(dst []byte, f Frame) []byte {
	at := len(dst)
	dst = append(dst, magic0, magic1, version, byte(f.Type))
	dst = binary.LittleEndian.AppendUint32(dst, f.Stream)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(f.Payload)))
	sum := crc32.Update(crc32.Checksum(dst[at:], castagnoli), castagnoli, f.Payload)
	dst = binary.LittleEndian.AppendUint32(dst, sum)
	return append(dst, f.Payload...)
}

// preamble is longer than any frame and holds none. It completes a frame that
// an earlier host left half sent, whose checksum then is wrong.
func preamble() []byte { return make([]byte, HeaderSize+MaxPayload) }

// A Reader finds the frames in a byte stream.
type Reader struct {
	// Strict makes bytes outside frames an error, [ErrGarbled], instead of
	// skipping them.
	Strict bool

	r          io.Reader
	buf        []byte
	start, end int // what is read and not yet used
}

// NewReader returns a reader of the frames in r, with room for two of the
// longest.
func NewReader(r io.Reader) *Reader {
	return &Reader{r: r, buf: make([]byte, 2*(HeaderSize+MaxPayload))}
}

// Next returns the next frame. Its payload is valid until the next call. The
// error is io.EOF at the end of the stream, also inside a frame.
func (r *Reader) Next() (Frame, error) {
	for {
		head := r.buf[r.start:r.end]
		n, ok := plausible(head)
		switch {
		case !ok:
			if err := r.skip(); err != nil {
				return Frame{}, err
			}
		case len(head) < n:
			if err := r.fill(); err != nil {
				return Frame{}, err
			}
		case !intact(head[:n]):
			if err := r.skip(); err != nil {
				return Frame{}, err
			}
		case head[2] != version:
			return Frame{}, fmt.Errorf("agent frame version %d: this build reads version %d", head[2], version)
		default:
			r.start += n
			return Frame{
				Type:    Type(head[3]),
				Stream:  binary.LittleEndian.Uint32(head[4:]),
				Payload: head[HeaderSize:n:n],
			}, nil
		}
	}
}

// plausible reports whether a frame may begin at b, and how many bytes of it
// are needed to tell more.
func plausible(b []byte) (need int, ok bool) {
	if len(b) > 0 && b[0] != magic0 || len(b) > 1 && b[1] != magic1 {
		return 0, false
	}
	if len(b) < HeaderSize {
		return HeaderSize, true
	}
	n := binary.LittleEndian.Uint32(b[8:])
	if n > MaxPayload {
		return 0, false
	}
	return HeaderSize + int(n), true
}

// intact reports whether the checksum of the whole frame b is right.
func intact(b []byte) bool {
	sum := crc32.Update(crc32.Checksum(b[:12], castagnoli), castagnoli, b[HeaderSize:])
	return sum == binary.LittleEndian.Uint32(b[12:])
}

// skip moves on to the next place where a frame may begin.
func (r *Reader) skip() error {
	if r.Strict {
		return ErrGarbled
	}
	r.start++
	if i := bytes.IndexByte(r.buf[r.start:r.end], magic0); i >= 0 {
		r.start += i
	} else {
		r.start = r.end
	}
	return nil
}

// fill reads more bytes behind those there are.
func (r *Reader) fill() error {
	if r.start > 0 {
		r.end = copy(r.buf, r.buf[r.start:r.end])
		r.start = 0
	}
	n, err := r.r.Read(r.buf[r.end:])
	r.end += n
	if n > 0 {
		return nil
	}
	if err == nil {
		return io.ErrNoProgress
	}
	return err
}
