// Package synctest helps to test what goes over a network: a proxy between two
// ends of TCP connections that are slow, are cut off, or fall silent.
package synctest

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/time/rate"
)

// Faults say what a [Proxy] does to connections. The zero value is a network
// without faults.
type Faults struct {
	// Seed is what all that is random follows from. The connection that is
	// accepted n-th meets the same faults after the same bytes each time, as far
	// as which direction is faster does not matter.
	Seed uint64
	// Cut is after how many bytes, both directions together, a connection is
	// cut off, on average; 0: never. The bytes before are handed on; those
	// that the other end has not read yet may be lost.
	Cut int64
	// Intact is how many connections are left alone before the first is cut.
	Intact int
	// HalfOpen has connections fall silent instead of being cut off: both ends
	// find them open, but nothing comes any more.
	HalfOpen bool
	// Delay is how long each piece that is read takes to be delivered.
	Delay time.Duration
	// Rate is how many bytes a second each direction of a connection carries;
	// 0: any.
	Rate int
}

// A Proxy accepts connections and forwards them to its target. Its methods may
// be called from several goroutines at once.
type Proxy struct {
	target   string
	listener net.Listener
	faults   Faults
	wg       sync.WaitGroup

	mu       sync.Mutex
	up, down int64 // bytes delivered
	accepted int
	open     map[*link]struct{}
	closed   bool
	resume   chan struct{} // nil, or closed when the proxy goes on
}

// NewProxy starts a proxy to the address target, on a port of its own of the
// loopback interface. It ends with the test.
func NewProxy(t testing.TB, target string, faults Faults) *Proxy {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{target: target, listener: l, faults: faults, open: map[*link]struct{}{}}
	p.wg.Go(p.accept)
	t.Cleanup(p.close)
	return p
}

// Addr returns the address to connect to.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Bytes returns how many bytes have been delivered: up to the target, and down
// from it.
func (p *Proxy) Bytes() (up, down int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.up, p.down
}

// Connections returns how many connections have been accepted.
func (p *Proxy) Connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.accepted
}

// Pause has connections fall silent, new ones too, until [Proxy.Resume]. What
// was read before may still be delivered.
func (p *Proxy) Pause() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.resume == nil {
		p.resume = make(chan struct{})
	}
}

// Resume has paused connections go on where they were.
func (p *Proxy) Resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.resume != nil {
		close(p.resume)
		p.resume = nil
	}
}

// CutAll cuts off all connections that are open.
func (p *Proxy) CutAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.open {
		l.cut()
	}
}

func (p *Proxy) close() {
	p.listener.Close()
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.CutAll()
	p.wg.Wait()
}

// paused returns what to wait for, or nil.
func (p *Proxy) paused() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.resume
}

func (p *Proxy) accept() {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() { p.forward(conn) })
	}
}

// forward dials the target and copies both ways until the end.
func (p *Proxy) forward(device net.Conn) {
	ctx, cancel := context.WithCancel(context.Background())
	bound(device)
	l := &link{proxy: p, ctx: ctx, left: -1, ends: []net.Conn{device}}
	l.cut = sync.OnceFunc(func() {
		cancel()
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, c := range l.ends {
			reset(c)
		}
	})
	defer l.cut()
	if !p.enter(l) {
		return
	}
	defer p.leave(l)
	server, err := (&net.Dialer{}).DialContext(ctx, "tcp", p.target)
	if err != nil || !l.join(server) {
		return
	}
	bound(server)
	var both sync.WaitGroup
	both.Go(func() { l.copy(server, device, &p.up) })
	both.Go(func() { l.copy(device, server, &p.down) })
	both.Wait()
	if ctx.Err() == nil { // both ended in order: what is on its way arrives
		server.Close()
		device.Close()
	}
}

// enter counts a connection and decides on its faults.
func (p *Proxy) enter(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	n := p.accepted
	p.accepted++
	p.open[l] = struct{}{}
	if p.faults.Cut > 0 && n >= p.faults.Intact {
		r := rand.New(rand.NewPCG(p.faults.Seed, uint64(n))) //nolint:gosec // it has to be the same each time
		l.left = int64(r.ExpFloat64() * float64(p.faults.Cut))
	}
	return true
}

func (p *Proxy) leave(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, l)
}

// queue is how many bytes a connection may hold that were written but not sent.
const queue = 32 << 10

// bound keeps what is written to a connection, and so counts as delivered, from
// piling up on this side, where a reset throws it away.
func bound(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		tcp.SetWriteBuffer(queue) //nolint:errcheck // then more is lost by a cut
	}
}

// reset closes a connection so that its other end finds it cut off.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		tcp.SetLinger(0) //nolint:errcheck // it is closed in any case
	}
	c.Close()
}

// A link is a connection of two ends.
type link struct {
	proxy *Proxy
	ctx   context.Context //nolint:containedctx // ends with the link
	cut   func()

	mu   sync.Mutex
	left int64 // bytes until the fault; negative: none
	ends []net.Conn
}

// join adds the other end, unless the link was cut off meanwhile.
func (l *link) join(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ctx.Err() != nil {
		c.Close()
		return false
	}
	l.ends = append(l.ends, c)
	return true
}

// take returns how many of n bytes may pass, and whether the fault comes then.
func (l *link) take(n int) (pass int, fault bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.left < 0 {
		return n, false
	}
	pass = int(min(int64(n), l.left))
	l.left -= int64(pass)
	return pass, l.left == 0
}

// copy carries bytes one way, until the sender ends or the link is cut off.
func (l *link) copy(to, from net.Conn, delivered *int64) {
	limit := rate.NewLimiter(rate.Inf, 0)
	buf := make([]byte, 32<<10)
	if r := l.proxy.faults.Rate; r > 0 {
		buf = buf[:min(len(buf), max(r/20, 1))]
		limit = rate.NewLimiter(rate.Limit(r), len(buf))
	}
	for {
		n, err := from.Read(buf)
		if n > 0 && !l.deliver(to, buf[:n], limit, delivered) {
			return
		}
		if err == io.EOF { //nolint:errorlint // Read returns it as it is
			if tcp, ok := to.(*net.TCPConn); ok {
				tcp.CloseWrite() //nolint:errcheck // the other direction goes on, or finds out
			}
			return
		}
		if err != nil {
			l.cut()
			return
		}
	}
}

// deliver writes what was read, as far as the faults let it.
func (l *link) deliver(to net.Conn, b []byte, limit *rate.Limiter, delivered *int64) bool {
	p := l.proxy
	pass, fault := l.take(len(b))
	if limit.WaitN(l.ctx, pass) != nil || !l.wait(p.faults.Delay) {
		return false
	}
	n, err := to.Write(b[:pass])
	p.mu.Lock()
	*delivered += int64(n)
	p.mu.Unlock()
	if err == nil && !fault {
		return true
	}
	if fault && p.faults.HalfOpen {
		<-l.ctx.Done()
	}
	l.cut()
	return false
}

// wait waits as long as said, and while the proxy is paused. It reports whether
// the link is still there.
func (l *link) wait(delay time.Duration) bool {
	if delay > 0 {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-l.ctx.Done():
			return false
		}
	}
	for resumed := l.proxy.paused(); resumed != nil; resumed = l.proxy.paused() {
		select {
		case <-resumed:
		case <-l.ctx.Done():
			return false
		}
	}
	return true
}
