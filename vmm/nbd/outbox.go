package nbd

import (
	"fmt"
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
	pieces  net.Buffers // of those, what is still to be sent
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
		if err := o.now(&s); err != nil {
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
	o.err = fmt.Errorf("write reply: %w", err)
	o.conn.Close()
}

// maxPieces is how many pieces one system call takes, see sysconf(3).
const maxPieces = 1024

// now sends what the connection takes without waiting.
func (o *outbox) now(s *sending) error {
	if o.raw == nil {
		return nil
	}
	for len(s.pieces) > 0 {
		var n int
		var failed error
		err := o.raw.Write(func(fd uintptr) bool {
			n, failed = unix.SendmsgBuffers(int(fd), s.pieces[:min(len(s.pieces), maxPieces)], nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
			return true
		})
		switch {
		case err != nil:
			return err
		case failed == unix.EAGAIN: //nolint:errorlint // a system call returns just that
			return nil
		case failed != nil && failed != unix.EINTR: //nolint:errorlint // the same
			return failed
		}
		consume(&s.pieces, max(n, 0))
	}
	return nil
}

// consume takes the first n bytes off.
func consume(pieces *net.Buffers, n int) {
	p := *pieces
	for len(p) > 0 && n >= len(p[0]) {
		n -= len(p[0])
		p = p[1:]
	}
	if n > 0 {
		p[0] = p[0][n:]
	}
	*pieces = p
}

// run sends what had to wait, and all that comes meanwhile.
func (o *outbox) run() {
	defer close(o.done)
	for s := range o.rest {
		for ok := true; ok; s, ok = o.next() {
			if _, err := s.pieces.WriteTo(o.conn); err != nil {
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
