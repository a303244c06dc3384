// Package wire is the codec of streams: headers and records.
package wire

import (
	"errors"
	"io"

	"satchel/store"
)

// MediaType is the media type of a stream.
const MediaType = "application/vnd.satchel.stream"

// Type is the type of a record.
type Type uint8

// The types of record.
const (
	IDs Type = iota + 1
	Frame
	Wants
	end
	failure
)

// A Writer writes a stream. After an error it refuses everything.
type Writer struct{ w io.Writer }

// NewWriter returns a writer that begins a stream with its first record.
func NewWriter(w io.Writer) *Writer { return &Writer{w} }

// IDs writes a record of IDs.
func (w *Writer) IDs(ids []store.ID) error { return errors.ErrUnsupported }

// Frame writes a record that holds a pack frame.
func (w *Writer) Frame(frame []byte) error { return errors.ErrUnsupported }

// Wants writes a record with a bit for each ID that was offered.
func (w *Writer) Wants(wants []bool) error { return errors.ErrUnsupported }

// Close ends the stream. It does not close the underlying writer.
func (w *Writer) Close() error { return errors.ErrUnsupported }

// Fail ends the stream with a refusal, in the form that [syncer.ToError] gives it.
func (w *Writer) Fail(err error) error { return errors.ErrUnsupported }

// A Record is one record of a stream.
type Record struct {
	Type Type
	data []byte
}

// IDs returns the IDs of a record of that type.
func (r Record) IDs() []store.ID { return nil }

// Frame returns the pack frame of a record of that type, valid until the next read.
func (r Record) Frame() []byte { return r.data }

// Wants returns the answers of a record of that type for n IDs. It fails with
// [syncer.ErrMalformed] when there are not just as many.
func (r Record) Wants(n int) ([]bool, error) { return nil, errors.ErrUnsupported }

// A Reader reads a stream. Its memory is bounded by the largest record that
// has really come, not by what a length claims.
type Reader struct{ r io.Reader }

// NewReader returns a reader of the stream in r.
func NewReader(r io.Reader) *Reader { return &Reader{r} }

// Next returns the next record, or [io.EOF] after a whole stream. A stream that
// was cut off fails with [io.ErrUnexpectedEOF], one that ends with a refusal with
// the error that it stands for, others with [syncer.ErrMalformed],
// [syncer.ErrTooLarge] or [syncer.ErrProtocol].
func (r *Reader) Next() (Record, error) { return Record{}, errors.ErrUnsupported }
