package wire

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"satchel/store"
	"satchel/syncer"
)

// What a refusal may hold, so that it fits its record however its message has
// to be escaped.
const (
	maxMissing = 8192     // IDs
	maxMessage = 64 << 10 // bytes
)

var errClosed = errors.New("the stream has ended")

// A Writer writes a stream. After an error it refuses everything. What it was
// given may lie in its buffer until [Writer.Close] or [Writer.Fail].
type Writer struct {
	w     *bufio.Writer
	head  [headerLen + recordLen]byte
	begun bool
	count uint32 // records so far
	err   error
}

// NewWriter returns a writer that begins a stream with its first record.
func NewWriter(w io.Writer) *Writer {
	return &Writer{w: bufio.NewWriterSize(w, bufferLen)}
}

// IDs writes a record of IDs, of which there may be [syncer.MaxIDs].
func (w *Writer) IDs(ids []store.ID) error {
	if err := w.begin(IDs, len(ids)*idLen); err != nil {
		return err
	}
	for i := range ids {
		w.write(ids[i][:])
	}
	return w.err
}

// Frame writes a record that holds a pack frame of up to [MaxFrame] bytes.
func (w *Writer) Frame(frame []byte) error { return w.record(Frame, frame) }

// Wants writes a record with a bit for each ID that was offered.
func (w *Writer) Wants(wants []bool) error {
	bits := make([]byte, (len(wants)+7)/8)
	for i, want := range wants {
		if want {
			bits[i/8] |= 1 << (i % 8)
		}
	}
	return w.record(Wants, bits)
}

// Close ends the stream. It does not close the underlying writer.
func (w *Writer) Close() error {
	return w.finish(end, le.AppendUint32(nil, w.count))
}

// Fail ends the stream with a refusal, in the form that [syncer.ToError] gives
// it. Of a [*syncer.MissingError] it sends as many IDs as a record may hold. It
// returns only what kept it from that.
func (w *Writer) Fail(err error) error {
	e, _ := syncer.ToError(err)
	e.Missing = e.Missing[:min(len(e.Missing), maxMissing)]
	e.Message = e.Message[:min(len(e.Message), maxMessage)]
	b, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("write refusal: %w", err)
	}
	return w.finish(failure, b)
}

// finish writes the last record and hands everything on.
func (w *Writer) finish(t Type, payload []byte) error {
	if err := w.record(t, payload); err != nil {
		return err
	}
	if err := w.w.Flush(); err != nil {
		w.fail(err)
		return w.err
	}
	w.err = errClosed
	return nil
}

func (w *Writer) record(t Type, payload []byte) error {
	if err := w.begin(t, len(payload)); err != nil {
		return err
	}
	w.write(payload)
	return w.err
}

// begin writes what comes before a payload of n bytes.
func (w *Writer) begin(t Type, n int) error {
	if w.err != nil {
		return w.err
	}
	if err := t.check(uint64(n)); err != nil {
		w.fail(err)
		return w.err
	}
	head := w.head[:0]
	if !w.begun {
		head = appendHeader(head)
		w.begun = true
	}
	w.write(le.AppendUint32(append(head, byte(t)), uint32(n)))
	w.count++
	return w.err
}

func (w *Writer) write(b []byte) {
	if w.err != nil {
		return
	}
	if _, err := w.w.Write(b); err != nil {
		w.fail(err)
	}
}

func (w *Writer) fail(err error) { w.err = fmt.Errorf("write stream: %w", err) }
