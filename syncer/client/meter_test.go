package client

import (
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// move sends n bytes over a metered connection, on the clock of the test.
func move(t *testing.T, m *meter, n int, upwards bool) time.Duration {
	t.Helper()
	near, farEnd := net.Pipe()
	c := newConn(near, m)
	defer c.Close()
	defer farEnd.Close()
	from, to := net.Conn(farEnd), net.Conn(c)
	if upwards {
		from, to = c, farEnd
	}
	began := time.Now()
	var group sync.WaitGroup
	group.Go(func() {
		if _, err := from.Write(make([]byte, n)); err != nil {
			t.Error(err)
		}
	})
	if _, err := io.ReadFull(to, make([]byte, n)); err != nil {
		t.Error(err)
	}
	group.Wait()
	return time.Since(began)
}

func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 640 << 10
		m := newMeter(64<<10, 0)
		// All but the first burst, of a tenth of a second, has to wait.
		if got := move(t, m, n, true); got < 9800*time.Millisecond || got > 10*time.Second {
			t.Errorf("640 KiB up at 64 KiB/s took %v", got)
		}
		if got := move(t, m, n, false); got != 0 {
			t.Errorf("down without a limit took %v", got)
		}
		m.up.limit(0)
		m.down.limit(128 << 10)
		if got := move(t, m, n, true); got != 0 {
			t.Errorf("up without a limit took %v", got)
		}
		if got := move(t, m, n, false); got < 4800*time.Millisecond || got > 5*time.Second {
			t.Errorf("640 KiB down at 128 KiB/s took %v", got)
		}
		if up, down := m.up.count.Load(), m.down.count.Load(); up != 2*n || down != 2*n {
			t.Errorf("counted %d up and %d down, want %d", up, down, 2*n)
		}
		m.down.limit(1)
		if got := move(t, m, slowest, false); got > time.Second+time.Millisecond {
			t.Errorf("%d bytes at the least limit took %v", slowest, got)
		}
	})
}

func TestCloseEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, farEnd := net.Pipe()
		defer farEnd.Close()
		c := newConn(near, newMeter(slowest, 0))
		began := time.Now()
		var group sync.WaitGroup
		group.Go(func() { _, _ = io.Copy(io.Discard, farEnd) })
		group.Go(func() {
			if n, err := c.Write(make([]byte, 100*slowest)); err == nil {
				t.Errorf("%d bytes were written to a closed connection", n)
			}
		})
		time.Sleep(time.Second)
		c.Close()
		group.Wait()
		if got := time.Since(began); got != time.Second {
			t.Errorf("the wait lasted %v beyond the close", got-time.Second)
		}
	})
}
