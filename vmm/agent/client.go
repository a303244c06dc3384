package agent

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// helloEvery is how often a hello is repeated while no guest answers.
const helloEvery = 2 * time.Second

// A Client is the host's end of a link. Its methods may be used by several
// goroutines at once. All but Close wait until the guest's agent is there.
type Client struct {
	conn  net.Conn
	link  link
	nonce string
	wg    sync.WaitGroup

	welcomed chan struct{} // closed when the guest has answered the hello
	gone     chan struct{} // closed when nothing more can be read
	hello    sync.Once     // starts the hellos

	mu      sync.Mutex
	streams map[uint32]*stream
	next    uint32
	welcome Welcome // once welcomed is closed
	err     error   // once gone is closed
}

// NewClient returns the client of the guest, or the [Proxy], at the other end
// of conn, which it owns from now on.
func NewClient(conn net.Conn) *Client {
	c := &Client{
		conn:     conn,
		link:     link{w: conn},
		nonce:    rand.Text(),
		welcomed: make(chan struct{}),
		gone:     make(chan struct{}),
		streams:  make(map[uint32]*stream),
	}
	c.wg.Go(c.read)
	return c
}

// Close ends the connection and all that goes on over it, and waits for the
// client's goroutines.
func (c *Client) Close() error {
	err := c.conn.Close()
	c.wg.Wait()
	return err
}

// Hello waits until the guest's agent answers and returns what it said of the
// guest then; [Client.Info] asks anew.
func (c *Client) Hello(ctx context.Context) (Info, error) {
	c.hello.Do(func() { c.wg.Go(c.sayHello) })
	select {
	case <-c.welcomed:
	case <-c.gone:
		return Info{}, c.failure()
	case <-ctx.Done():
		return Info{}, fmt.Errorf("wait for the guest's agent: %w", ctx.Err())
	}
	if v := c.welcome.Protocol; v != Protocol {
		return Info{}, fmt.Errorf("guest agent speaks protocol %d: this build speaks %d", v, Protocol)
	}
	return c.welcome.Info, nil
}

// sayHello repeats the hello until there is an answer. A guest that has not
// come so far finds it waiting; one whose port was reset in between would not.
func (c *Client) sayHello() {
	msg, err := encode(Hello{Protocol: Protocol, Nonce: c.nonce})
	if err != nil {
		return
	}
	frame := AppendFrame(nil, Frame{Type: TypeHello, Payload: msg})
	tick := time.NewTicker(helloEvery)
	defer tick.Stop()
	for first := append(preamble(), frame...); ; first = frame {
		if err := c.link.begin(0, first); err != nil {
			return
		}
		select {
		case <-c.welcomed:
			return
		case <-c.gone:
			return
		case <-tick.C:
		}
	}
}

// read is the read loop. It never writes.
func (c *Client) read() {
	r := NewReader(c.conn)
	var err error
	for err == nil {
		var f Frame
		if f, err = r.Next(); err == nil {
			err = c.dispatch(r, f)
		}
	}
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe) {
		err = ErrClosed
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
	close(c.gone)
	for _, s := range c.streams {
		s.fail(err)
	}
}

func (c *Client) dispatch(r *Reader, f Frame) error {
	if f.Type == TypeWelcome {
		c.accept(r, f)
		return nil
	}
	if !r.Strict {
		return nil // from before our hello
	}
	c.mu.Lock()
	s := c.streams[f.Stream]
	c.mu.Unlock()
	if s == nil {
		return nil // of a stream given up
	}
	switch f.Type {
	case TypeReply, TypeStdout, TypeStderr, TypeCredit:
		s.push(f)
		return nil
	default:
		return fmt.Errorf("guest agent sent a frame of type %d", f.Type)
	}
}

// accept ends the hello if the welcome is for us.
func (c *Client) accept(r *Reader, f Frame) {
	var w Welcome
	if json.Unmarshal(f.Payload, &w) != nil || w.Nonce != c.nonce || r.Strict {
		return // for another host, or again
	}
	r.Strict = true
	c.welcome = w
	close(c.welcomed)
}

func (c *Client) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// open returns a new stream. Whoever opens it closes it with c.drop.
func (c *Client) open(relay bool) (*stream, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return nil, c.err
	}
	for c.next++; c.next == 0 || c.streams[c.next] != nil; c.next++ {
	}
	s := newStream(c.next, func(f Frame) error { return c.link.send(0, f) })
	s.relay = relay
	c.streams[s.id] = s
	return s, nil
}

// drop forgets the stream.
func (c *Client) drop(s *stream) {
	s.fail(ErrClosed)
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.streams, s.id)
}
