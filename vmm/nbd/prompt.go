package nbd

import "errors"

// A Prompter is an export that can tell what it need not wait for: neither for a
// disk nor for anybody else. Such a request is done at once, which is cheaper
// than to have another goroutine do it.
type Prompter interface {
	// TryReadAt fills p, or returns false if that might take a while, or fails.
	TryReadAt(p []byte, off int64) bool
	// TryWriteAt writes p, or returns false if that might take a while, or fails.
	TryWriteAt(p []byte, off int64) bool
}

// maxPrompt is the longest range that is tried, in bytes: of more, copying takes
// longer than it takes to have somebody else do it meanwhile.
const maxPrompt = 64 << 10

// small reports whether a request may be tried.
func (t *transmission) small(r *request) bool {
	return t.device.prompt != nil && r.length <= maxPrompt &&
		(r.cmd == cmdRead || r.cmd == cmdWrite && r.flags&cmdFUA == 0)
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
		return t.simple(r, errNone, nil), true
	}
	data := getBuffer(int(r.length))
	answer, err := t.readRuns(r, *data, d.tryRead)
	if err != nil {
		putBuffer(data)
		return reply{}, false
	}
	answer.data = data
	return answer, true
}

var errSlow = errors.New("it would take a while")

// tryRead is read for what need not wait.
func (d *device) tryRead(b []byte, off int64) error {
	if !d.prompt.TryReadAt(b, off) {
		return errSlow
	}
	d.count.read(off, int64(len(b)))
	return nil
}
