package qmp

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// A message is any line that a monitor sends; which of its fields are set says
// what it is.
type message struct {
	Greeting  *greeting       `json:"QMP"`
	ID        *uint64         `json:"id"`
	Return    json.RawMessage `json:"return"`
	Error     *Error          `json:"error"`
	Event     string          `json:"event"`
	Data      json.RawMessage `json:"data"`
	Timestamp timestamp       `json:"timestamp"`
}

type greeting struct {
	Version struct {
		QEMU struct {
			Major int `json:"major"`
			Minor int `json:"minor"`
			Micro int `json:"micro"`
		} `json:"qemu"`
		Package string `json:"package"`
	} `json:"version"`
}

func (g *greeting) version() Version {
	q := g.Version.QEMU
	return Version{Major: q.Major, Minor: q.Minor, Micro: q.Micro, Package: g.Version.Package}
}

// A timestamp is a pair of numbers, both -1 when the host has no clock.
type timestamp struct {
	Seconds      int64 `json:"seconds"`
	Microseconds int64 `json:"microseconds"`
}

func (t timestamp) time() time.Time {
	if t.Seconds <= 0 || t.Microseconds < 0 || t.Microseconds >= 1e6 {
		return time.Time{}
	}
	return time.Unix(t.Seconds, t.Microseconds*1e3)
}

// A request is what a client sends.
type request struct {
	Execute   string `json:"execute"`
	Arguments any    `json:"arguments,omitempty"`
	ID        uint64 `json:"id"`
}

// A decoder splits a stream into lines and the lines into messages.
type decoder struct {
	r    *bufio.Reader
	line []byte // reused
}

func newDecoder(r io.Reader) *decoder { return &decoder{r: bufio.NewReaderSize(r, 16<<10)} }

// next returns the next message. It fails with [io.EOF] at a clean end and
// with [ErrProtocol] on anything that is no message.
func (d *decoder) next() (message, error) {
	for {
		line, err := d.readLine()
		if err != nil {
			return message{}, err
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			return parse(line)
		}
	}
}

// readLine returns the next line, valid until the next call.
func (d *decoder) readLine() ([]byte, error) {
	d.line = d.line[:0]
	for {
		part, err := d.r.ReadSlice('\n')
		if len(d.line)+len(part) > MaxLine {
			return nil, fmt.Errorf("%w: line longer than %d bytes", ErrProtocol, MaxLine)
		}
		d.line = append(d.line, part...)
		switch {
		case err == nil:
			return d.line, nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF) && len(d.line) > 0:
			return nil, fmt.Errorf("read monitor: %w", io.ErrUnexpectedEOF)
		default:
			return nil, err
		}
	}
}

func parse(line []byte) (message, error) {
	var m message
	if err := json.Unmarshal(line, &m); err != nil {
		return message{}, fmt.Errorf("%w: %w in %.80q", ErrProtocol, err, line)
	}
	kinds := 0
	for _, set := range []bool{m.Greeting != nil, m.Return != nil, m.Error != nil, m.Event != ""} {
		if set {
			kinds++
		}
	}
	if kinds != 1 {
		return message{}, fmt.Errorf("%w: neither greeting, answer nor event: %.80q", ErrProtocol, line)
	}
	return m, nil
}
