package nbd

import "encoding/binary"

// maxRuns is how many runs one reply tells; a client asks again for the rest.
const maxRuns = 1024

// do does a request, unless it is refused, and returns the reply.
func (t *transmission) do(r *request, refused errno) reply {
	if refused != errNone {
		return t.fail(r, refused)
	}
	d, off, length := t.device, int64(r.off), int64(r.length)
	fua := r.flags&cmdFUA != 0
	var err error
	switch r.cmd {
	case cmdRead:
		return t.doRead(r)
	case cmdBlockStatus:
		return t.blockStatus(r)
	case cmdWrite:
		err = d.change(fua, func() error { return d.writeAt(*r.data, off) })
		putBuffer(r.data)
	case cmdWriteZeroes:
		err = d.change(fua, func() error { return d.writeZeroes(off, length, r.flags&cmdNoHole == 0) })
	case cmdTrim:
		err = d.change(fua, func() error { return d.trim.Trim(off, length) })
	case cmdFlush:
		err = d.flush.Flush()
	case cmdCache:
		err = t.warm(off, length)
	}
	if err != nil {
		return t.fail(r, errnoOf(err))
	}
	return t.simple(r, errNone)
}

// doRead reads the whole range before it replies, so that an error can still be
// told.
func (t *transmission) doRead(r *request) reply {
	data := getBuffer(int(r.length))
	answer, err := t.readRuns(r, *data, t.device.source)
	if err != nil {
		putBuffer(data)
		return t.fail(r, errnoOf(err))
	}
	answer.data = data
	return answer
}

// A source brings what lies at an offset, in b or otherwise.
type source func(b []byte, off int64) (piece, error)

// readRuns makes the reply to a read, with holes left out where the client can
// take that. What is read into memory goes to b.
func (t *transmission) readRuns(r *request, b []byte, from source) (reply, error) {
	off := int64(r.off)
	if !t.structured {
		p, err := from(b, off)
		answer := t.simple(r, errNone)
		answer.pieces = append(answer.pieces, p)
		return answer, err
	}
	if r.flags&cmdDF != 0 || t.device.alloc == nil {
		head := dataChunk(r, off, len(b))
		finish(head)
		p, err := from(b, off)
		return reply{pieces: []piece{{data: head}, p}}, err
	}
	var pieces []piece
	var head []byte
	for run := range merged(t.device.runs(off, int64(len(b)))) {
		if run.Zero {
			head = holeChunk(r, off, run.Length)
			pieces = append(pieces, piece{data: head})
			t.device.count.read(off, run.Length)
		} else {
			p, err := from(b[:run.Length], off)
			if err != nil {
				return reply{}, err
			}
			head = dataChunk(r, off, int(run.Length))
			pieces = append(pieces, piece{data: head}, p)
		}
		b, off = b[run.Length:], off+run.Length
	}
	finish(head)
	return reply{pieces: pieces}, nil
}

// blockStatus tells where the holes of a range are.
func (t *transmission) blockStatus(r *request) reply {
	b := chunkHead(r, chunkDone, chunkBlockStatus, 0)
	b = binary.BigEndian.AppendUint32(b, contextID)
	n := 0
	for run := range merged(t.device.runs(int64(r.off), int64(r.length))) {
		b = binary.BigEndian.AppendUint32(b, uint32(run.Length))
		b = binary.BigEndian.AppendUint32(b, run.state())
		if n++; n == maxRuns || r.flags&cmdReqOne != 0 {
			break
		}
	}
	binary.BigEndian.PutUint32(b[16:], uint32(len(b)-20))
	return reply{pieces: []piece{{data: b}}}
}

// warm reads a range so that the export has it at hand later.
func (t *transmission) warm(off, length int64) error {
	b := getBuffer(1 << 20)
	defer putBuffer(b)
	for length > 0 {
		part := (*b)[:min(length, int64(len(*b)))]
		if n, err := t.device.ReadAt(part, off); n < len(part) {
			return err
		}
		off, length = off+int64(len(part)), length-int64(len(part))
	}
	return nil
}
