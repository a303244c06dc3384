package synctest

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo starts a server that sends back what it gets.
func echo(t *testing.T) string {
	t.Helper()
	return serve(t, func(c net.Conn) io.Writer { return c })
}

// sink starts a server that sends nothing.
func sink(t *testing.T) string {
	t.Helper()
	return serve(t, func(net.Conn) io.Writer { return io.Discard })
}

// serve starts a server that copies what it gets.
func serve(t *testing.T, to func(net.Conn) io.Writer) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				io.Copy(to(c), c) //nolint:errcheck // the other end finds out
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		wg.Wait()
	})
	return l.Addr().String()
}

func dial(t *testing.T, p *Proxy) *net.TCPConn {
	t.Helper()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn) //nolint:errcheck,forcetypeassert // it is one
}

func noise(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}

// roundTrip sends bytes and returns what comes back.
func roundTrip(c *net.TCPConn, send []byte) ([]byte, error) {
	sent := make(chan error)
	go func() {
		_, err := c.Write(send)
		sent <- errors.Join(err, c.CloseWrite())
	}()
	got, err := io.ReadAll(c)
	// The kernel tells of a reset once, to whoever asks first.
	return got, errors.Join(err, <-sent)
}

func TestForwards(t *testing.T) {
	for name, f := range map[string]Faults{
		"nothing": {}, "delay": {Delay: time.Microsecond}, "rate": {Rate: 10 << 20}, "cuts later": {Cut: 1, Intact: 1},
	} {
		p := NewProxy(t, echo(t), f)
		want := noise(300_000)
		got, err := roundTrip(dial(t, p), want)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		if up, down := p.Bytes(); up != 300_000 || down != 300_000 || p.Connections() != 1 {
			t.Errorf("%s: %d up, %d down, %d connections", name, up, down, p.Connections())
		}
	}
}

// TestCuts checks that connections are cut off after the same bytes for the same
// seed, and that all that comes before is right.
func TestCuts(t *testing.T) {
	send := noise(2_000_000)
	run := func(seed uint64) (sent []int64) {
		p := NewProxy(t, sink(t), Faults{Seed: seed, Cut: 100_000})
		for range 5 {
			before, _ := p.Bytes()
			if _, err := roundTrip(dial(t, p), send); err == nil {
				t.Fatal("a connection was not cut off")
			}
			up, _ := p.Bytes()
			sent = append(sent, up-before)
		}
		return sent
	}
	a, b, c := run(1), run(1), run(2)
	if !slices.Equal(a, b) || slices.Equal(a, c) {
		t.Errorf("connections were cut off after %d bytes, then after %d, and with another seed after %d", a, b, c)
	}
	p := NewProxy(t, echo(t), Faults{Cut: 100_000})
	for range 5 {
		if got, _ := roundTrip(dial(t, p), send); !bytes.HasPrefix(send, got) || len(got) == len(send) {
			t.Fatalf("%d bytes came back of %d", len(got), len(send))
		}
	}
}

// TestSilence checks that half-open and paused connections carry nothing, and
// what ends that.
func TestSilence(t *testing.T) {
	half := NewProxy(t, echo(t), Faults{Cut: 1, HalfOpen: true})
	c := dial(t, half)
	if _, err := c.Write(noise(1000)); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() {
		_, err := io.ReadAll(c)
		ended <- err
	}()
	select {
	case err := <-ended:
		t.Fatalf("a half-open connection ends: %v", err)
	case <-time.After(50 * time.Millisecond): // a fault would be missed, never invented
	}
	half.CutAll()
	if err := <-ended; err == nil {
		t.Error("a connection that was cut off ends in order")
	}

	p := NewProxy(t, echo(t), Faults{})
	p.Pause()
	c = dial(t, p)
	want := noise(1000)
	got := make(chan []byte)
	go func() {
		b, _ := roundTrip(c, want)
		got <- b
	}()
	select {
	case b := <-got:
		t.Fatalf("a paused connection carries %d bytes", len(b))
	case <-time.After(50 * time.Millisecond): // as above
	}
	if up, down := p.Bytes(); up+down > 0 {
		t.Errorf("%d bytes up and %d down while paused", up, down)
	}
	p.Resume()
	if b := <-got; !bytes.Equal(b, want) {
		t.Errorf("%d bytes came back", len(b))
	}
}

// TestDeadTarget checks that nobody waits for a target that is not there.
func TestDeadTarget(t *testing.T) {
	p := NewProxy(t, "127.0.0.1:1", Faults{})
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", p.Addr())
	if err != nil {
		return // it was cut off even sooner
	}
	defer c.Close()
	if got, err := io.ReadAll(c); err == nil {
		t.Errorf("%d bytes came, and an end in order", len(got))
	}
}
