package pack

import (
	"errors"
	"fmt"
	"io"
)

// A Writer writes one pack, from its header to its footer. After an error it
// refuses everything.
type Writer struct {
	w      io.Writer
	size   int64
	chunks int
	dir    []byte // the directory as far as it goes
	frames uint32
	err    error
}

// NewWriter begins a pack.
func NewWriter(w io.Writer) (*Writer, error) {
	p := &Writer{w: w}
	p.write(appendHeader(nil))
	return p, p.err
}

func (p *Writer) write(b []byte) {
	if p.err != nil {
		return
	}
	n, err := p.w.Write(b)
	p.size += int64(n)
	p.err = err
}

// Size returns how many bytes the pack has now, the directory that is still to
// come not included.
func (p *Writer) Size() int64 { return p.size }

// Chunks returns how many chunks the pack has now.
func (p *Writer) Chunks() int { return p.chunks }

// Append adds a frame made by [AppendFrame] that holds the given chunks, and
// returns where it lies.
func (p *Writer) Append(frame []byte, chunks []Chunk) (Frame, error) {
	f := Frame{Offset: p.size, Len: len(frame), Chunks: chunks}
	if p.err == nil && (len(chunks) == 0 || len(chunks) > MaxFrameChunks) {
		return Frame{}, fmt.Errorf("append frame of %d chunks: want 1 to %d", len(chunks), MaxFrameChunks)
	}
	if p.err == nil && (p.chunks+len(chunks) > MaxChunks || p.size+int64(len(frame)) > MaxSize/2) {
		p.err = fmt.Errorf("pack of %d bytes is full", p.size)
	}
	p.write(frame)
	if p.err != nil {
		return Frame{}, p.err
	}
	p.dir = le.AppendUint32(p.dir, uint32(f.Offset))
	p.dir = le.AppendUint32(p.dir, uint32(f.Len))
	p.dir = le.AppendUint32(p.dir, uint32(len(chunks)))
	for _, c := range chunks {
		p.dir = append(p.dir, c.ID[:]...)
		p.dir = le.AppendUint32(p.dir, uint32(c.Len))
	}
	p.frames++
	p.chunks += len(chunks)
	return f, nil
}

// Close ends the pack with its directory and footer. It does not close the
// underlying writer.
func (p *Writer) Close() error {
	foot := appendFooter(nil, p.dir, p.frames)
	p.write(p.dir)
	p.write(foot)
	err := p.err
	if p.err == nil {
		p.err = errors.New("pack is closed")
	}
	return err
}

// appendFooter appends the footer of a directory.
func appendFooter(b, dir []byte, frames uint32) []byte {
	start := len(b)
	b = le.AppendUint32(b, uint32(len(dir)))
	b = le.AppendUint32(b, frames)
	b = le.AppendUint32(b, Version)
	b = le.AppendUint32(b, checksum(append(dir[:len(dir):len(dir)], b[start:]...)))
	return append(b, footerMagic...)
}
