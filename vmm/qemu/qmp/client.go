package qmp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// queued is how many events wait for a reader before the oldest is dropped.
const queued = 64

// A Client is one connection to a monitor.
type Client struct {
	conn    net.Conn
	version Version
	events  chan Event
	dropped atomic.Uint64
	done    chan struct{} // closed when the reader has ended
	writing sync.Mutex    // held while a request is written

	mu      sync.Mutex
	lastID  uint64
	waiting map[uint64]chan message // answers to come, by id; nil when closed
	err     error                   // why the connection ended
}

// Dial connects to the monitor that listens on the unix socket at path.
func Dial(ctx context.Context, path string) (*Client, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("connect to monitor: %w", err)
	}
	return New(ctx, conn)
}

// New greets the monitor at the other end of conn, which the client owns from
// then on, even when New fails.
func New(ctx context.Context, conn net.Conn) (*Client, error) {
	c := &Client{
		conn:    conn,
		events:  make(chan Event, queued),
		done:    make(chan struct{}),
		waiting: map[uint64]chan message{},
	}
	dec := newDecoder(conn)
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	m, err := dec.next()
	if !stop() {
		err = ctx.Err()
	}
	if err == nil && m.Greeting == nil {
		err = fmt.Errorf("%w: no greeting", ErrProtocol)
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("greet monitor: %w", err)
	}
	c.version = m.Greeting.version()
	go c.read(dec)
	if err := c.Execute(ctx, "qmp_capabilities", nil, nil); err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("greet monitor: %w", err)
	}
	return c, nil
}

// Version tells which QEMU this is.
func (c *Client) Version() Version { return c.version }

// Execute runs a command and waits for its answer. Args is marshalled as the
// command's arguments, an object, and may be nil; the answer is unmarshalled
// into result unless that is nil. It fails with an [*Error] when the monitor
// refuses, and with [ErrClosed] when the connection ends first. When ctx ends
// first the command may still be done.
func (c *Client) Execute(ctx context.Context, command string, args, result any) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("qemu %s: %w", command, err)
	}
	id, answer, err := c.expect()
	if err != nil {
		return fmt.Errorf("qemu %s: %w", command, err)
	}
	line, err := json.Marshal(request{Execute: command, Arguments: args, ID: id})
	if err == nil {
		err = c.write(ctx, line)
	}
	if err != nil {
		c.forget(id)
		return fmt.Errorf("qemu %s: %w", command, err)
	}
	select {
	case m, ok := <-answer:
		if !ok {
			return fmt.Errorf("qemu %s: %w", command, c.Err())
		}
		return m.decode(command, result)
	case <-ctx.Done():
		c.forget(id)
		return fmt.Errorf("qemu %s: %w", command, ctx.Err())
	}
}

func (m *message) decode(command string, result any) error {
	if m.Error != nil {
		m.Error.Command = command
		return m.Error
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(m.Return, result); err != nil {
		return fmt.Errorf("qemu %s: %w: %w", command, ErrProtocol, err)
	}
	return nil
}

// Events returns the events that have arrived, in order. The channel is closed
// when the connection ends, after the last event.
func (c *Client) Events() <-chan Event { return c.events }

// Dropped tells how many events were thrown away because nobody read them.
func (c *Client) Dropped() uint64 { return c.dropped.Load() }

// Done is closed when the connection has ended.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err tells why the connection ended, as an error that wraps [ErrClosed], or
// nil while it is up.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends the connection and waits for the reader to end. QEMU runs on.
func (c *Client) Close() error {
	err := c.conn.Close()
	<-c.done
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// expect registers a command that will wait for an answer.
func (c *Client) expect() (uint64, <-chan message, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, nil, c.err
	}
	c.lastID++
	answer := make(chan message, 1)
	c.waiting[c.lastID] = answer
	return c.lastID, answer, nil
}

// forget gives up an answer; when it comes it is thrown away.
func (c *Client) forget(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, id)
}

func (c *Client) write(ctx context.Context, line []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	// A QEMU that has stopped reading must not hold up the caller.
	stop := context.AfterFunc(ctx, func() { c.conn.Close() })
	_, err := c.conn.Write(append(line, '\n'))
	switch {
	case !stop():
		return ctx.Err()
	case err != nil:
		c.conn.Close() // half a line would spoil every later command
		return fmt.Errorf("%w: %w", ErrClosed, err)
	}
	return nil
}

// read hands out what the monitor sends until the connection ends.
func (c *Client) read(dec *decoder) {
	defer close(c.done)
	for {
		m, err := dec.next()
		if err == nil {
			err = c.deliver(m)
		}
		if err != nil {
			c.end(err)
			return
		}
	}
}

func (c *Client) deliver(m message) error {
	switch {
	case m.Greeting != nil:
		return fmt.Errorf("%w: second greeting", ErrProtocol)
	case m.Event != "":
		c.enqueue(Event{Name: m.Event, Data: m.Data, Time: m.Timestamp.time()})
		return nil
	case m.ID == nil:
		// Only a request that could not be read is answered without an id.
		return fmt.Errorf("%w: answer without an id", ErrProtocol)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if answer, ok := c.waiting[*m.ID]; ok {
		delete(c.waiting, *m.ID)
		answer <- m
	}
	return nil
}

// enqueue adds an event, dropping the oldest when the queue is full. Only the
// reader calls it, so there is room after one is dropped.
func (c *Client) enqueue(e Event) {
	select {
	case c.events <- e:
		return
	default:
	}
	select {
	case <-c.events:
		c.dropped.Add(1)
	default: // somebody has just read one
	}
	c.events <- e
}

// end records why the connection ended and tells everyone who waits.
func (c *Client) end(cause error) {
	c.conn.Close()
	err := ErrClosed
	if !errors.Is(cause, io.EOF) && !errors.Is(cause, net.ErrClosed) {
		err = fmt.Errorf("%w: %w", ErrClosed, cause)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
	for _, answer := range c.waiting {
		close(answer)
	}
	clear(c.waiting)
	close(c.events)
}
