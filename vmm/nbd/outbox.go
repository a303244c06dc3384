package nbd

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// An outbox sends replies to a client. Who has some sends as much as the
// connection takes at once; the rest is left to a goroutine. So a reply mostly
// costs one system call and wakes nobody, and nobody but that goroutine waits
// for a client that does not read.
type outbox struct {
	conn net.Conn
	raw  syscall.RawConn // nil: all is left to the goroutine
	free func(*reply)    // called for each reply that was sent, or cannot be

	mu    sync.Mutex
	queue []reply // not being sent yet
	busy  bool    // somebody is sending
	err   error   // the connection's

	rest chan sending // for the goroutine: whoever hands one over is not sending any more
	done chan struct{}
}

// A sending is some replies that are being sent.
type sending struct {
	replies []reply
	pieces  []piece // of those, what is still to be sent
}

func newOutbox(nc net.Conn, free func(*reply)) *outbox {
	o := &outbox{conn: nc, free: free, rest: make(chan sending), done: make(chan struct{})}
	if c, ok := nc.(syscall.Conn); ok {
		o.raw, _ = c.SyscallConn()
	}
	go o.run()
	return o
}

// put sends replies, in this order.
func (o *outbox) put(replies ...reply) {
	o.mu.Lock()
	o.queue = append(o.queue, replies...)
	sends := !o.busy
	o.busy = true
	o.mu.Unlock()
	for sends {
		var s sending
		if s, sends = o.next(); !sends {
			return
		}
		if err := o.send(&s, false); err != nil {
			o.fail(err)
		} else if len(s.pieces) > 0 {
			o.rest <- s
			return
		}
		o.sent(s)
	}
}

// next is what is to be sent next. If there is nothing, nobody is sending any
// more.
func (o *outbox) next() (s sending, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	s.replies, o.queue = o.queue, nil
	if o.busy = len(s.replies) > 0; !o.busy {
		return s, false
	}
	if o.err == nil {
		for i := range s.replies {
			s.pieces = append(s.pieces, s.replies[i].pieces...)
		}
	}
	return s, true
}

func (o *outbox) sent(s sending) {
	for i := range s.replies {
		o.free(&s.replies[i])
	}
}

// fail notes that the connection is of no use any more, and has the reader of
// requests see it too.
func (o *outbox) fail(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil {
		o.err = fmt.Errorf("write reply: %w", err)
	}
	o.conn.Close()
}

// send sends what the connection takes without waiting, or else all.
func (o *outbox) send(s *sending, wait bool) error {
	if o.raw == nil {
		return o.copyOut(s, wait)
	}
	var failed error
	err := o.raw.Write(func(fd uintptr) bool {
		for len(s.pieces) > 0 && failed == nil {
			var n int
			n, failed = sendSome(int(fd), s.pieces)
			switch {
			case failed == unix.EAGAIN: //nolint:errorlint // a system call returns just that
				failed = nil
				return !wait
			case failed == unix.EINTR: //nolint:errorlint // the same
				failed = nil
			case n == 0 && failed == nil:
				failed = io.ErrUnexpectedEOF // a file that was cut off
			default:
				s.pieces = consume(s.pieces, n)
			}
		}
		return true
	})
	return errors.Join(err, failed)
}

// copyOut is send for connections that are no sockets: they wait.
func (o *outbox) copyOut(s *sending, wait bool) error {
	for wait && len(s.pieces) > 0 {
		if _, err := o.conn.Write(s.pieces[0].data); err != nil {
			return err
		}
		s.pieces = s.pieces[1:]
	}
	return nil
}

// maxPieces is how many pieces one system call takes, see sysconf(3).
const maxPieces = 1024

// sendSome sends the first pieces, those that go by one system call.
func sendSome(fd int, pieces []piece) (int, error) {
	if p := pieces[0]; p.file != nil {
		off := p.off
		return unix.Sendfile(fd, int(p.file.Fd()), &off, int(p.n))
	}
	var data [16][]byte
	all, flags := data[:0], unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL
	for _, p := range pieces[:min(len(pieces), maxPieces)] {
		if p.file != nil {
			flags |= unix.MSG_MORE
			break
		}
		all = append(all, p.data)
	}
	return unix.SendmsgBuffers(fd, all, nil, nil, flags)
}

// consume takes the first n bytes off.
func consume(p []piece, n int) []piece {
	for n > 0 {
		if size := max(int(p[0].n), len(p[0].data)); n >= size {
			n -= size
			p = p[1:]
			continue
		}
		if p[0].file != nil {
			p[0].off, p[0].n = p[0].off+int64(n), p[0].n-int64(n)
		} else {
			p[0].data = p[0].data[n:]
		}
		n = 0
	}
	return p
}

// run sends what had to wait, and all that comes meanwhile.
func (o *outbox) run() {
	defer close(o.done)
	for s := range o.rest {
		for ok := true; ok; s, ok = o.next() {
			if err := o.send(&s, true); err != nil {
				o.fail(err)
			}
			o.sent(s)
		}
	}
}

// close waits until everything is sent, and returns the connection's error.
// Nobody may put any more.
func (o *outbox) close() error {
	close(o.rest)
	<-o.done
	return o.err
}
