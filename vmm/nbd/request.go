package nbd

import (
	"encoding/binary"
	"fmt"
)

const requestSize = 28 // bytes of a request, without a write's data

// A request is what a client asks for in transmission.
type request struct {
	flags  uint16
	cmd    command
	cookie uint64
	off    uint64
	length uint32
	data   *[]byte // of a write, pooled
}

// parseRequest reads a request's header.
func parseRequest(b *[requestSize]byte) (request, error) {
	if m := binary.BigEndian.Uint32(b[:]); m != magicRequest {
		return request{}, fmt.Errorf("%w: request begins with %#x", ErrProtocol, m)
	}
	return request{
		flags:  binary.BigEndian.Uint16(b[4:]),
		cmd:    command(binary.BigEndian.Uint16(b[6:])),
		cookie: binary.BigEndian.Uint64(b[8:]),
		off:    binary.BigEndian.Uint64(b[16:]),
		length: binary.BigEndian.Uint32(b[24:]),
	}, nil
}

// allowed maps each command that is answered to the flags that it may have. FUA
// is allowed wherever it has no meaning, as the protocol demands.
var allowed = map[command]uint16{
	cmdRead:        cmdFUA | cmdDF,
	cmdWrite:       cmdFUA,
	cmdFlush:       cmdFUA,
	cmdTrim:        cmdFUA,
	cmdCache:       cmdFUA,
	cmdWriteZeroes: cmdFUA | cmdNoHole,
	cmdBlockStatus: cmdFUA | cmdReqOne,
}

// check decides whether a request may be done at all.
func (t *transmission) check(r *request) errno {
	d := t.device
	flags, known := allowed[r.cmd]
	if !known || r.flags&^flags != 0 {
		return errInval
	}
	inside := r.off <= uint64(d.size) && uint64(r.length) <= uint64(d.size)-r.off
	switch r.cmd {
	case cmdFlush:
		if d.flush == nil || r.off != 0 || r.length != 0 {
			return errInval
		}
		return errNone
	case cmdWrite, cmdWriteZeroes, cmdTrim:
		switch {
		case d.write == nil:
			return errPerm
		case r.cmd == cmdTrim && d.trim == nil:
			return errInval
		case !inside && r.cmd != cmdTrim:
			return errNoSpc
		}
	case cmdBlockStatus:
		if !t.context {
			return errInval
		}
	}
	if !inside || r.length == 0 || (r.payload() && r.length > MaxRequest) {
		return errInval
	}
	if r.flags&cmdDF != 0 && !t.structured {
		return errInval
	}
	return errNone
}

// payload reports whether the request moves its range over the connection.
func (r *request) payload() bool { return r.cmd == cmdRead || r.cmd == cmdWrite }
