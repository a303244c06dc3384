package wire

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"satchel/store/pack"
	"satchel/syncer"
)

// A Reader reads a stream. Its memory is bounded by the largest record that
// has really come, not by what a length claims. After an error, [io.EOF]
// included, it returns that error again.
type Reader struct {
	r     *bufio.Reader
	head  [max(headerLen, recordLen)]byte
	begun bool
	count uint32 // records so far
	buf   []byte // the payload of the last record
	cut   []byte // of buf: what has come of a frame that was cut off
	err   error
}

// NewReader returns a reader of the stream in r.
func NewReader(r io.Reader) *Reader {
	return &Reader{r: bufio.NewReaderSize(r, bufferLen)}
}

// Next returns the next record, or [io.EOF] after a whole stream. A stream that
// was cut off fails with [io.ErrUnexpectedEOF], one that ends with a refusal with
// the error that it stands for, others with [syncer.ErrMalformed],
// [syncer.ErrTooLarge] or [syncer.ErrProtocol].
func (r *Reader) Next() (Record, error) {
	if r.err != nil {
		return Record{}, r.err
	}
	rec, err := r.next()
	if err != nil {
		r.err = err
		return Record{}, err
	}
	return rec, nil
}

func (r *Reader) next() (Record, error) {
	if !r.begun {
		if err := r.header(); err != nil {
			return Record{}, err
		}
		r.begun = true
	}
	head := r.head[:recordLen]
	if err := r.full(head); err != nil {
		return Record{}, err
	}
	t, n := Type(head[0]), le.Uint32(head[1:])
	if err := t.check(uint64(n)); err != nil {
		return Record{}, fmt.Errorf("read stream: %w", err)
	}
	if err := r.payload(int(n)); err != nil {
		if t == Frame {
			r.cut = r.buf
		}
		return Record{}, err
	}
	switch t {
	case end:
		return Record{}, r.ended()
	case failure:
		return Record{}, r.refusal()
	}
	if r.count++; r.count == 0 {
		return Record{}, fmt.Errorf("read stream: too many records: %w", syncer.ErrTooLarge)
	}
	return Record{t, r.buf}, nil
}

func (r *Reader) header() error {
	head := r.head[:headerLen]
	if err := r.full(head); err != nil {
		return err
	}
	if string(head[:len(magic)]) != magic {
		return fmt.Errorf("read stream: it begins with %q: %w", head[:len(magic)], syncer.ErrMalformed)
	}
	if v := le.Uint32(head[len(magic):]); v != syncer.Version {
		return fmt.Errorf("stream of version %d, this program reads %d: %w", v, syncer.Version, syncer.ErrProtocol)
	}
	return nil
}

// payload reads n bytes into buf, for which it takes no more memory at a time
// than has arrived already.
func (r *Reader) payload(n int) error {
	r.buf = r.buf[:0]
	for have := 0; have < n; have = len(r.buf) {
		step := min(n-have, max(have, bufferLen, cap(r.buf)-have))
		r.buf = slices.Grow(r.buf, step)[:have+step]
		n, err := io.ReadFull(r.r, r.buf[have:])
		if err != nil {
			r.buf = r.buf[:have+n]
			return readError(err)
		}
	}
	return nil
}

// Rest returns a record with the chunks that came whole of the pack frame in the
// middle of which the stream was cut off, if that is where it was.
func (r *Reader) Rest() (rec Record, ok bool) {
	head := pack.Head(r.cut)
	return Record{Frame, head}, head != nil
}

// ended checks the end record, and that nothing follows it.
func (r *Reader) ended() error {
	if n := le.Uint32(r.buf); n != r.count {
		return fmt.Errorf("read stream: %d records where its end counts %d: %w", r.count, n, syncer.ErrMalformed)
	}
	if _, err := r.r.ReadByte(); err == nil {
		return fmt.Errorf("read stream: bytes after its end: %w", syncer.ErrMalformed)
	}
	return io.EOF // whatever else failed, the stream is whole
}

// refusal returns the error that the stream ends with.
func (r *Reader) refusal() error {
	var e syncer.Error
	if err := json.Unmarshal(r.buf, &e); err != nil {
		return fmt.Errorf("read stream: refusal: %w: %w", syncer.ErrMalformed, err)
	}
	if e.Code == "" {
		return fmt.Errorf("read stream: refusal without a code: %w", syncer.ErrMalformed)
	}
	return e.Err()
}

// full reads as many bytes as b has. Streams never end before their end record.
func (r *Reader) full(b []byte) error {
	if _, err := io.ReadFull(r.r, b); err != nil {
		return readError(err)
	}
	return nil
}

func readError(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read stream: %w", err)
}
