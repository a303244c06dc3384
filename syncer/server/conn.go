package server

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"
)

const (
	// defaultIdle is how long a connection may go without a byte in the
	// direction that the server waits for.
	defaultIdle = 2 * time.Minute
	// farewell is how long the last words of an answer may take.
	farewell = 10 * time.Second
)

// A conn is a request's body and the answer to it. Each read and write has a
// deadline of its own, so that what moves may take as long as it needs, and
// what does not ends. When the request's context ends, so do they.
type conn struct {
	http.ResponseWriter
	control *http.ResponseController
	ctx     context.Context
	body    io.ReadCloser
	idle    time.Duration // between two reads or writes

	begun   bool // the answer has
	status  int
	in, out int64 // bytes

	mu      sync.Mutex // orders deadlines
	writing bool       // a write is under way
	ending  bool       // the context does not matter any more
}

func newConn(ctx context.Context, w http.ResponseWriter, body io.ReadCloser, idle time.Duration) *conn {
	return &conn{ResponseWriter: w, control: http.NewResponseController(w), ctx: ctx, body: body, idle: idle, status: http.StatusOK}
}

// Unwrap is for [http.ResponseController].
func (c *conn) Unwrap() http.ResponseWriter { return c.ResponseWriter }

func (c *conn) WriteHeader(status int) {
	if !c.begun {
		c.begun, c.status = true, status
	}
	c.ResponseWriter.WriteHeader(status)
}

func (c *conn) Write(p []byte) (int, error) {
	c.begun = true
	c.setWriting(true)
	defer c.setWriting(false)
	if err := c.arm(c.control.SetWriteDeadline); err != nil {
		return 0, err
	}
	n, err := c.ResponseWriter.Write(p)
	c.out += int64(n)
	return n, c.cause(err)
}

func (c *conn) setWriting(yes bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writing = yes
}

func (c *conn) Read(p []byte) (int, error) {
	if err := c.arm(c.control.SetReadDeadline); err != nil {
		return 0, err
	}
	n, err := c.body.Read(p)
	c.in += int64(n)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() == nil {
		// Else it would strike while the server looks whether the client is
		// still there.
		_ = c.control.SetReadDeadline(time.Time{})
	}
	return n, c.cause(err)
}

func (c *conn) Close() error { return c.body.Close() }

// arm sets a deadline for what comes next. Writers that have none, as tests
// may use, do without.
func (c *conn) arm(set func(time.Time) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending {
		return nil
	}
	if c.ctx.Err() != nil {
		return context.Cause(c.ctx)
	}
	_ = set(time.Now().Add(c.idle))
	return nil
}

// cause explains an error by the end of the context, if that was its cause.
func (c *conn) cause(err error) error {
	if err != nil && !errors.Is(err, io.EOF) && c.ctx.Err() != nil {
		return context.Cause(c.ctx)
	}
	return err
}

// expire ends reads and writes that wait. Where none is written the deadline for
// writes stays, since HTTP/2 ends a stream by it that could still say why.
func (c *conn) expire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending {
		return
	}
	past := time.Unix(1, 0)
	_ = c.control.SetReadDeadline(past)
	if c.writing {
		_ = c.control.SetWriteDeadline(past)
	}
}

// last gives what is still to be said a short time, whatever the context.
func (c *conn) last() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ending = true
	soon := time.Now().Add(farewell)
	_ = c.control.SetReadDeadline(soon)
	_ = c.control.SetWriteDeadline(soon)
}
