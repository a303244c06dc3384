package synctest

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/time/rate"
)

// A Line is a network line to one target: it carries so many bytes a second each
// way, all connections together, and each byte takes a while. Unlike a [Proxy] it
// carries further bytes meanwhile. It can be interrupted, as when a cable is
// pulled: connections stay, and nothing moves.
type Line struct {
	listener net.Listener
	target   string
	delay    time.Duration
	rates    [2]*rate.Limiter
	moved    [2]atomic.Int64
	wg       sync.WaitGroup
	ctx      context.Context
	cancel   context.CancelFunc

	mu     sync.Mutex
	closed chan struct{} // nil, or closed when the line is whole again
}

// The directions of a line.
const (
	up = iota
	down
)

const (
	lineBurst = 64 << 10 // bytes
	linePiece = 16 << 10
	linePipe  = 1024 // pieces that are under way
)

// NewLine starts a line to the address target, of so many bytes a second, on a
// port of its own of the loopback interface. A byte takes delay each way. It ends
// with the test.
func NewLine(t testing.TB, target string, bytes int, delay time.Duration) *Line {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &Line{listener: listener, target: target, delay: delay}
	for i := range l.rates {
		l.rates[i] = rate.NewLimiter(rate.Limit(bytes), lineBurst)
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.wg.Go(l.accept)
	t.Cleanup(func() {
		l.cancel()
		listener.Close()
		l.wg.Wait()
	})
	return l
}

// Addr is the address that devices connect to.
func (l *Line) Addr() string { return l.listener.Addr().String() }

// Down returns how many bytes have come from the target.
func (l *Line) Down() int64 { return l.moved[down].Load() }

// Interrupt has nothing move any more, until Mend.
func (l *Line) Interrupt() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed == nil {
		l.closed = make(chan struct{})
	}
}

// Mend ends an interruption.
func (l *Line) Mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed != nil {
		close(l.closed)
		l.closed = nil
	}
}

// pass waits until the line is whole. It reports false when the line ends.
func (l *Line) pass() bool {
	for {
		l.mu.Lock()
		closed := l.closed
		l.mu.Unlock()
		if closed == nil {
			return l.ctx.Err() == nil
		}
		select {
		case <-closed:
		case <-l.ctx.Done():
			return false
		}
	}
}

func (l *Line) accept() {
	for {
		near, err := l.listener.Accept()
		if err != nil {
			return
		}
		l.wg.Go(func() {
			defer near.Close()
			if !l.pass() {
				return
			}
			far, err := (&net.Dialer{}).DialContext(l.ctx, "tcp", l.target)
			if err != nil {
				return
			}
			defer far.Close()
			defer context.AfterFunc(l.ctx, func() { near.Close(); far.Close() })()
			var both sync.WaitGroup
			both.Go(func() { l.carry(far, near, up) })
			both.Go(func() { l.carry(near, far, down) })
			both.Wait()
		})
	}
}

// A parcel is bytes that are under way.
type parcel struct {
	data []byte
	due  time.Time
}

// carry copies one direction until it ends.
func (l *Line) carry(to, from net.Conn, direction int) {
	parcels := make(chan parcel, linePipe)
	l.wg.Go(func() {
		defer func() {
			if c, ok := to.(*net.TCPConn); ok {
				_ = c.CloseWrite() // the other end has gone, or will see it
			}
			for range parcels { // whoever sends must not be held up
			}
		}()
		for p := range parcels {
			time.Sleep(time.Until(p.due))
			if !l.pass() {
				return
			}
			l.moved[direction].Add(int64(len(p.data)))
			if _, err := to.Write(p.data); err != nil {
				return
			}
		}
	})
	defer close(parcels)
	for {
		b := make([]byte, linePiece)
		n, err := from.Read(b)
		if n > 0 {
			if l.rates[direction].WaitN(l.ctx, n) != nil {
				return
			}
			parcels <- parcel{b[:n], time.Now().Add(l.delay)}
		}
		if err != nil {
			return
		}
	}
}
