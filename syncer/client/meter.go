package client

import (
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

const (
	slowest  = 8 << 10  // bytes a second; with less, a record of TLS could count as a stall
	maxBurst = 64 << 10 // bytes
)

// A meter counts and limits what goes over all connections of a client.
type meter struct {
	up, down lane
}

// A lane is one direction.
type lane struct {
	count   atomic.Int64
	limiter *rate.Limiter
}

func newMeter(up, down int64) *meter {
	m := &meter{}
	m.up.limiter = rate.NewLimiter(rate.Inf, maxBurst)
	m.down.limiter = rate.NewLimiter(rate.Inf, maxBurst)
	m.up.limit(up)
	m.down.limit(down)
	return m
}

// limit sets the bytes a second. Bursts are a tenth of a second's, so that a
// slow line stays usable for others.
func (l *lane) limit(n int64) {
	if n <= 0 {
		l.limiter.SetBurst(maxBurst)
		l.limiter.SetLimit(rate.Inf)
		return
	}
	n = max(n, slowest)
	l.limiter.SetLimit(rate.Limit(n))
	l.limiter.SetBurst(int(min(n/10, maxBurst)))
}

// piece is how many of n bytes may go in one piece: without a limit all.
func (l *lane) piece(n int) int {
	if l.limiter.Limit() == rate.Inf {
		return n
	}
	return min(n, max(1, l.limiter.Burst()))
}

// wait waits until n more bytes may go, or done is closed.
func (l *lane) wait(n int, done <-chan struct{}) {
	for n > 0 {
		k := l.piece(n)
		r := l.limiter.ReserveN(time.Now(), k)
		if !r.OK() {
			continue // the limit was lowered just now
		}
		n -= k
		d := r.Delay()
		if d == 0 {
			continue
		}
		timer := time.NewTimer(d)
		select {
		case <-timer.C:
		case <-done:
			timer.Stop()
			r.Cancel()
			return
		}
	}
}

// A conn is a metered connection.
type conn struct {
	net.Conn
	meter *meter
	once  sync.Once
	done  chan struct{} // closed when the connection is
}

func newConn(c net.Conn, m *meter) *conn {
	return &conn{Conn: c, meter: m, done: make(chan struct{})}
}

// Read waits after it has read: the bytes that it does not take meanwhile hold
// the sender back.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b[:c.meter.down.piece(len(b))])
	c.meter.down.count.Add(int64(n))
	c.meter.down.wait(n, c.done)
	return n, err
}

func (c *conn) Write(b []byte) (int, error) {
	written := 0
	for written < len(b) {
		piece := b[written:]
		piece = piece[:c.meter.up.piece(len(piece))]
		c.meter.up.wait(len(piece), c.done)
		n, err := c.Conn.Write(piece)
		c.meter.up.count.Add(int64(n))
		written += n
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

func (c *conn) Close() error {
	c.once.Do(func() { close(c.done) })
	return c.Conn.Close()
}
