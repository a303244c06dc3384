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
// requests. It does those itself that need not wait for anything, many of them
// before it sends their replies, and starts a worker for each of the others.
type transmission struct {
	device     *device
	in         *bufio.Reader
	structured bool
	context    bool
	out        *outbox
	prompt     []reply             // of requests that the reader did itself, to be sent
	slots      chan struct{}       // one for each request in flight
	inFlight   *semaphore.Weighted // bytes in flight
}

func newTransmission(s *Server, nc net.Conn, n *negotiation) *transmission {
	t := &transmission{
		device:     s.device,
		in:         bufio.NewReaderSize(nc, 64<<10),
		structured: n.structured,
		context:    n.context,
		slots:      make(chan struct{}, s.maxRequests),
		inFlight:   semaphore.NewWeighted(maxInFlight),
	}
	widen(nc)
	t.out = newOutbox(nc, func(r *reply) {
		putBuffer(r.data)
		t.release(r.cost)
	})
	return t
}

// run serves requests until the client leaves or the connection fails, and
// returns when every request that was read has been done and answered.
func (t *transmission) run() error {
	var workers sync.WaitGroup
	err := t.read(&workers)
	t.answer()
	workers.Wait()
	if werr := t.out.close(); werr != nil {
		return werr // it closed the connection, which is all that read can say
	}
	return err
}

// read reads requests, and does them or starts workers for them.
func (t *transmission) read(workers *sync.WaitGroup) error {
	for {
		if t.in.Buffered() < requestSize {
			t.answer()
		}
		r, err := t.next()
		if err != nil {
			return err
		}
		t.device.count.requests.Add(1)
		if r.cmd == cmdDisc {
			return nil
		}
		refused := t.check(&r)
		cost, err := t.take(&r, refused)
		if err != nil {
			return err
		}
		whole, err := t.stream(&r, refused)
		if err == nil && !whole {
			err = t.readPayload(&r, refused == errNone)
		}
		if err != nil {
			t.release(cost)
			return err
		}
		if whole {
			answer := t.simple(&r, errNone)
			answer.cost = cost
			t.prompt = append(t.prompt, answer)
			continue
		}
		if refused == errNone && t.small(&r) {
			if answer, ok := t.try(&r); ok {
				answer.cost = cost
				t.prompt = append(t.prompt, answer)
				continue
			}
		}
		workers.Go(func() {
			t.device.count.begin(&r)
			defer t.device.count.end(&r)
			answer := t.do(&r, refused)
			answer.cost = cost
			t.out.put(answer)
		})
	}
}

// answer sends the replies that the reader has made.
func (t *transmission) answer() {
	if len(t.prompt) > 0 {
		t.out.put(t.prompt...)
		t.prompt = t.prompt[:0]
	}
}

// take waits until one more request may be in flight. Whoever sends replies
// makes room, and goes on doing so when the connection is broken, so the wait is
// not for ever.
func (t *transmission) take(r *request, refused errno) (cost int64, err error) {
	if refused == errNone && r.payload() {
		cost = int64(r.length)
	}
	if len(t.slots) == cap(t.slots) || !t.small(r) {
		t.answer() // they hold room too
	}
	t.slots <- struct{}{}
	if !t.inFlight.TryAcquire(cost) {
		t.answer()
		err = t.inFlight.Acquire(context.Background(), cost)
	}
	return cost, err
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
	if r.cmd != cmdWrite || r.data != nil {
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
