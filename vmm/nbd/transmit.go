package nbd

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"sync"

	"golang.org/x/sync/semaphore"
)

// A transmission is the second part of a connection. One goroutine reads
// requests, one for each request does it, and one writes replies.
type transmission struct {
	device     *device
	conn       net.Conn
	in         *bufio.Reader
	structured bool
	context    bool
	replies    chan reply
	slots      chan struct{}       // one for each request in flight
	inFlight   *semaphore.Weighted // bytes in flight
}

func newTransmission(s *Server, nc net.Conn, n *negotiation) *transmission {
	return &transmission{
		device:     s.device,
		conn:       nc,
		in:         bufio.NewReaderSize(nc, 64<<10),
		structured: n.structured,
		context:    n.context,
		replies:    make(chan reply, s.maxRequests),
		slots:      make(chan struct{}, s.maxRequests),
		inFlight:   semaphore.NewWeighted(maxInFlight),
	}
}

// run serves requests until the client leaves or the connection fails, and
// returns when every request that was read has been done and answered.
func (t *transmission) run() error {
	written := make(chan error, 1)
	go func() { written <- t.write() }()
	var workers sync.WaitGroup
	err := t.read(&workers)
	workers.Wait()
	close(t.replies)
	if werr := <-written; werr != nil {
		return werr // it closed the connection, which is all that read can say
	}
	return err
}

// read reads requests and starts a worker for each.
func (t *transmission) read(workers *sync.WaitGroup) error {
	for {
		r, err := t.next()
		if err != nil {
			return err
		}
		t.device.count.requests.Add(1)
		if r.cmd == cmdDisc {
			return nil
		}
		refused := t.check(&r)
		var cost int64
		if refused == errNone && r.payload() {
			cost = int64(r.length)
		}
		// The writer frees both, and goes on doing so when the connection is
		// broken, so neither wait is for ever.
		t.slots <- struct{}{}
		if err := t.inFlight.Acquire(context.Background(), cost); err != nil {
			return err
		}
		perr := t.readPayload(&r, refused == errNone)
		if perr != nil {
			t.release(cost)
			return perr
		}
		workers.Go(func() {
			answer := t.do(&r, refused)
			answer.cost = cost
			t.replies <- answer
		})
	}
}

func (t *transmission) release(cost int64) {
	t.inFlight.Release(cost)
	<-t.slots
}

// next reads a request's header.
func (t *transmission) next() (request, error) {
	var head [requestSize]byte
	if _, err := io.ReadFull(t.in, head[:]); err != nil {
		return request{}, fmt.Errorf("read request: %w", err)
	}
	return parseRequest(&head)
}

// readPayload reads the data of a write, or skips it when it is not wanted.
func (t *transmission) readPayload(r *request, wanted bool) error {
	if r.cmd != cmdWrite {
		return nil
	}
	var err error
	if wanted {
		r.data = getBuffer(int(r.length))
		_, err = io.ReadFull(t.in, *r.data)
	} else {
		_, err = io.CopyN(io.Discard, t.in, int64(r.length))
	}
	if err != nil {
		putBuffer(r.data)
		return fmt.Errorf("read data of a write: %w", err)
	}
	return nil
}

// write sends replies until there are no more. After an error it only frees
// what they hold.
func (t *transmission) write() error {
	var failed error
	var ready []reply
	for r := range t.replies {
		ready = t.more(append(ready[:0], r))
		if failed == nil {
			var pieces net.Buffers
			for i := range ready {
				pieces = append(pieces, ready[i].pieces...)
			}
			if _, err := pieces.WriteTo(t.conn); err != nil {
				failed = fmt.Errorf("write reply: %w", err)
				t.conn.Close() // so that the reader ends too
			}
		}
		for i := range ready {
			putBuffer(ready[i].data)
			t.release(ready[i].cost)
		}
	}
	return failed
}

// more adds the replies that are ready by now: all of them cost one system call.
func (t *transmission) more(ready []reply) []reply {
	for {
		select {
		case r, ok := <-t.replies:
			if !ok {
				return ready
			}
			ready = append(ready, r)
		default:
			return ready
		}
	}
}
