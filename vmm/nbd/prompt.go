package nbd

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// A Prompter is an export that can tell what it need not wait for: neither for a
// disk nor for anybody else. Such a request is done at once, which is cheaper
// than to have another goroutine do it.
type Prompter interface {
	// TryReadAt fills p, or returns false if that might take a while, or fails.
	TryReadAt(p []byte, off int64) bool
	// TryWriteAt writes p, or returns false if that might take a while, or fails.
	TryWriteAt(p []byte, off int64) bool
}

// A Filer is an export of which parts lie in files, from which the kernel sends
// them without copying. What is written there before the client has taken it may
// be sent in place of what was there: for two requests at the same time, that is
// as good.
type Filer interface {
	// InFile returns the file that holds a range, at the same offset and in the
	// host's memory, or nil if there is none. It stays open as long as the export.
	InFile(off, length int64) *os.File
}

// maxPrompt is the longest range that is copied before the next request is looked
// at, in bytes: of more, copying takes longer than it takes to have somebody else
// do it meanwhile.
const maxPrompt = 64 << 10

// small reports whether a request may be tried.
func (t *transmission) small(r *request) bool {
	switch r.cmd {
	case cmdRead:
		return t.device.prompt != nil && (r.length <= maxPrompt || t.device.filer != nil && t.out.raw != nil)
	case cmdWrite:
		return t.device.prompt != nil && r.length <= maxPrompt && r.flags&cmdFUA == 0
	}
	return false
}

// try does a small request if that takes no waiting.
func (t *transmission) try(r *request) (answer reply, ok bool) {
	d, off := t.device, int64(r.off)
	if r.cmd == cmdWrite {
		if !d.prompt.TryWriteAt(*r.data, off) {
			return reply{}, false
		}
		d.count.written.Add(int64(r.length))
		putBuffer(r.data)
		return t.simple(r, errNone), true
	}
	data := getBuffer(int(r.length))
	answer, err := t.readRuns(r, *data, d.atHand)
	if err != nil {
		putBuffer(data)
		return reply{}, false
	}
	answer.data = data
	return answer, true
}

var errSlow = errors.New("it would take a while")

// atHand is the [source] of what need not be waited for.
func (d *device) atHand(b []byte, off int64) (p piece, err error) {
	n := int64(len(b))
	if n > maxPrompt {
		if d.filer != nil {
			p = piece{file: d.filer.InFile(off, n), off: off, n: n}
		}
		if p.file == nil {
			return p, errSlow
		}
	} else if p.data = b; !d.prompt.TryReadAt(b, off) {
		return p, errSlow
	}
	d.count.read(off, n)
	return p, nil
}

// maxPiece is how much of a large write is written at once, in bytes. Of less the
// system calls cost more than is gained by copying while the client sends on.
const maxPiece = 1 << 20

// stream does a large write in pieces as they arrive, and reports whether all of
// it is done. Of what takes a while the request is left, with its data.
func (t *transmission) stream(r *request, refused errno) (whole bool, err error) {
	if refused != errNone || r.cmd != cmdWrite || t.device.prompt == nil || r.length <= maxPrompt || r.flags&cmdFUA != 0 {
		return false, nil
	}
	buf := getBuffer(int(min(r.length, maxPiece)))
	defer putBuffer(buf)
	for r.length > 0 {
		b := (*buf)[:min(r.length, maxPiece-uint32(r.off%maxPiece))] // so that they end between blocks
		if _, err := io.ReadFull(t.in, b); err != nil {
			return false, fmt.Errorf("read data of a write: %w", err)
		}
		if !t.device.prompt.TryWriteAt(b, int64(r.off)) {
			r.data = getBuffer(int(r.length))
			if _, err := io.ReadFull(t.in, (*r.data)[copy(*r.data, b):]); err != nil {
				putBuffer(r.data)
				return false, fmt.Errorf("read data of a write: %w", err)
			}
			return false, nil
		}
		t.device.count.written.Add(int64(len(b)))
		r.off, r.length = r.off+uint64(len(b)), r.length-uint32(len(b))
	}
	return true, nil
}
