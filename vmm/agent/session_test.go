package agent_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"satchel/vmm/agent"
)

// A rawHost speaks frames, for what a well-behaved client would not say.
type rawHost struct {
	t    *testing.T
	conn net.Conn
	r    *agent.Reader
}

func newRawHost(t *testing.T, conn net.Conn) *rawHost {
	t.Helper()
	return &rawHost{t, conn, agent.NewReader(conn)}
}

func (h *rawHost) send(typ agent.Type, stream uint32, payload string) {
	h.t.Helper()
	if _, err := h.conn.Write(agent.AppendFrame(nil, agent.Frame{Type: typ, Stream: stream, Payload: []byte(payload)})); err != nil {
		h.t.Fatal(err)
	}
}

// await returns the next frame of a type.
func (h *rawHost) await(typ agent.Type) agent.Frame {
	h.t.Helper()
	for {
		f, err := h.r.Next()
		if err != nil {
			h.t.Fatal(err)
		}
		if f.Type == typ {
			return f
		}
	}
}

func (h *rawHost) hello(nonce string) {
	h.t.Helper()
	h.send(agent.TypeHello, 0, `{"protocol":1,"nonce":"`+nonce+`"}`)
	for {
		var w agent.Welcome
		if err := json.Unmarshal(h.await(agent.TypeWelcome).Payload, &w); err != nil {
			h.t.Fatal(err)
		}
		if w.Nonce == nonce {
			return
		}
	}
}

func (h *rawHost) reply() agent.Reply {
	h.t.Helper()
	var r agent.Reply
	if err := json.Unmarshal(h.await(agent.TypeReply).Payload, &r); err != nil {
		h.t.Fatal(err)
	}
	return r
}

// rawConnect returns a raw host of a real handler.
func rawConnect(t *testing.T) *rawHost {
	t.Helper()
	ours, theirs := net.Pipe()
	serve(t, theirs, here())
	t.Cleanup(func() { ours.Close() })
	return newRawHost(t, ours)
}

// TestNewHostEndsTheOld checks that a host that takes over finds nothing of what
// the last one had running, whatever that left in the link.
func TestNewHostEndsTheOld(t *testing.T) {
	h := rawConnect(t)
	h.hello("first")
	h.send(agent.TypeRequest, 1, `{"op":"exec","exec":{"argv":["cat","/dev/zero"]}}`)
	h.await(agent.TypeStdout)
	if _, err := h.conn.Write(agent.AppendFrame(nil, agent.Frame{Type: agent.TypeStdin, Stream: 1, Payload: []byte("torn")})[:18]); err != nil {
		t.Fatal(err)
	}
	c := agent.NewClient(h.conn)
	t.Cleanup(func() { _ = c.Close() })
	if out, code := run(t, c, "echo second"); out != "second\n" || code != 0 {
		t.Errorf("got %q, %d", out, code)
	}
}

func TestHelloAgainChangesNothing(t *testing.T) {
	h := rawConnect(t)
	h.hello("same")
	h.send(agent.TypeRequest, 1, `{"op":"exec","exec":{"argv":["cat"]}}`)
	h.hello("same")
	h.send(agent.TypeStdin, 1, "still here")
	if f := h.await(agent.TypeStdout); string(f.Payload) != "still here" {
		t.Errorf("got %q", f.Payload)
	}
}

// TestHostileHost checks that what no host should send costs it at most its own
// stream.
func TestHostileHost(t *testing.T) {
	for name, tt := range map[string]struct {
		do   func(h *rawHost)
		want string
	}{
		"unknown operation": {func(h *rawHost) { h.send(agent.TypeRequest, 1, `{"op":"dance"}`) }, "unknown operation"},
		"no JSON":           {func(h *rawHost) { h.send(agent.TypeRequest, 1, `{`) }, "unexpected end"},
		"no command":        {func(h *rawHost) { h.send(agent.TypeRequest, 1, `{"op":"exec"}`) }, "no command"},
		"data without credit": {func(h *rawHost) {
			h.send(agent.TypeRequest, 1, `{"op":"exec","exec":{"argv":["sleep","60"]}}`)
			for range 2 * agent.Window / agent.MaxPayload {
				h.send(agent.TypeStdin, 1, strings.Repeat("x", agent.MaxPayload))
			}
			h.send(agent.TypeClose, 1, "")
		}, ""},
		"frames of no stream": {func(h *rawHost) {
			h.send(agent.TypeStdin, 7, "x")
			h.send(agent.TypeCredit, 7, "x")
			h.send(99, 7, "x")
			h.send(agent.TypeRequest, 1, `{"op":"ping"}`)
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := rawConnect(t)
			h.hello("n")
			tt.do(h)
			if r := h.reply(); !strings.Contains(r.Error, tt.want) {
				t.Errorf("reply %+v, want %q", r, tt.want)
			}
			h.send(agent.TypeRequest, 2, `{"op":"ping"}`)
			if r := h.reply(); r.Error != "" {
				t.Errorf("ping after it: %v", r.Error)
			}
		})
	}
}

func TestTooManyStreams(t *testing.T) {
	h := rawConnect(t)
	h.hello("n")
	for i := range uint32(128) {
		h.send(agent.TypeRequest, i+1, `{"op":"exec","exec":{"argv":["cat"]}}`)
	}
	h.send(agent.TypeRequest, 1000, `{"op":"ping"}`)
	if r := h.reply(); !strings.Contains(r.Error, "too many") {
		t.Errorf("got %+v", r)
	}
}

// TestOtherProtocol checks what a host says of a guest of another time.
func TestOtherProtocol(t *testing.T) {
	ours, theirs := net.Pipe()
	c := agent.NewClient(ours)
	t.Cleanup(func() { _ = c.Close() })
	done := make(chan struct{})
	go func() {
		defer close(done)
		r := agent.NewReader(theirs)
		f, err := r.Next()
		if err != nil {
			t.Error(err)
			return
		}
		var hello agent.Hello
		if err := json.Unmarshal(f.Payload, &hello); err != nil {
			t.Error(err)
		}
		welcome := agent.AppendFrame(nil, agent.Frame{Type: agent.TypeWelcome, Payload: []byte(`{"protocol":2,"nonce":"` + hello.Nonce + `"}`)})
		if _, err := theirs.Write(welcome); err != nil {
			t.Error(err)
		}
	}()
	if _, err := c.Hello(t.Context()); err == nil || !strings.Contains(err.Error(), "protocol 2: this build speaks 1") {
		t.Errorf("got %v", err)
	}
	<-done
}

func TestHelloWaits(t *testing.T) {
	ours, theirs := net.Pipe() // nobody reads the other end
	defer theirs.Close()
	c := agent.NewClient(ours)
	t.Cleanup(func() { _ = c.Close() })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Hello(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// proxied returns a function that makes clients of a proxy of one real link.
func proxied(t *testing.T) func() (*agent.Client, net.Conn) {
	t.Helper()
	p := agent.NewProxy(connect(t, here()))
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "agent"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- p.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return func() (*agent.Client, net.Conn) {
		conn, err := net.Dial("unix", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		c := agent.NewClient(conn)
		t.Cleanup(func() { _ = c.Close() })
		return c, conn
	}
}

func TestProxy(t *testing.T) {
	dial := proxied(t)
	first, _ := dial()
	second, _ := dial()
	third, conn := dial()

	// The first's streams stand still, the third goes away in the middle.
	slow := newStuck()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stopped := make(chan struct{}, 2)
	go func() {
		_, _ = first.Exec(ctx, agent.ExecRequest{Argv: []string{"cat", "/dev/zero"}, Stdout: slow})
		stopped <- struct{}{}
	}()
	gone := newStuck()
	close(gone.release)
	go func() {
		_, err := third.Exec(ctx, agent.ExecRequest{Argv: []string{"cat", "/dev/zero"}, Stdout: gone})
		if err == nil {
			t.Error("a command went on without its connection")
		}
		stopped <- struct{}{}
	}()
	<-slow.reached
	<-gone.reached
	conn.Close()
	for range 10 {
		code, err := second.Exec(t.Context(), agent.ExecRequest{
			Argv: []string{"wc", "-c"}, Stdin: strings.NewReader(strings.Repeat("x", 3*agent.Window)),
		})
		if code != 0 || err != nil {
			t.Fatalf("got %d, %v", code, err)
		}
	}
	if _, err := second.Info(t.Context()); err != nil {
		t.Error(err)
	}
	cancel()
	close(slow.release)
	<-stopped
	<-stopped
}

func TestProxyRefuses(t *testing.T) {
	ours, theirs := net.Pipe()
	p := agent.NewProxy(connect(t, here()))
	done := make(chan error)
	go func() { done <- p.ServeConn(context.Background(), theirs) }()
	h := newRawHost(t, ours)
	h.hello("n")
	h.send(agent.TypeReply, 1, `{}`)
	if err := <-done; err == nil || !strings.Contains(err.Error(), "type 4") {
		t.Errorf("a guest's frame from a client: %v", err)
	}
}

// FuzzServe feeds a guest any bytes; it must neither fail nor hang.
func FuzzServe(f *testing.F) {
	hello := agent.AppendFrame(nil, agent.Frame{Type: agent.TypeHello, Payload: []byte(`{"nonce":"n"}`)})
	for _, op := range []string{`{"op":"ping"}`, `{"op":"info"}`, `{"op":"exec","exec":{"argv":["x"]}}`, `{"op":"ready"}`} {
		f.Add(agent.AppendFrame(hello, agent.Frame{Type: agent.TypeRequest, Stream: 1, Payload: []byte(op)}))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := agent.Serve(t.Context(), &script{in: strings.NewReader(string(b))}, refusing{}); err != nil && !strings.Contains(err.Error(), "version") {
			t.Errorf("serve: %v", err)
		}
	})
}

// script is a host that says its lines and does not listen.
type script struct{ in *strings.Reader }

func (s *script) Read(p []byte) (int, error)  { return s.in.Read(p) }
func (s *script) Write(p []byte) (int, error) { return len(p), nil }

// FuzzClient feeds a host any bytes after the welcome.
func FuzzClient(f *testing.F) {
	f.Add(agent.AppendFrame(nil, agent.Frame{Type: agent.TypeReply, Stream: 1, Payload: []byte(`{}`)}))
	f.Add(agent.AppendFrame(nil, agent.Frame{Type: agent.TypeStdout, Stream: 1, Payload: []byte("x")}))
	f.Add(agent.AppendFrame(nil, agent.Frame{Type: agent.TypeCredit, Stream: 1, Payload: []byte{1, 2, 3, 4}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		ours, theirs := net.Pipe()
		c := agent.NewClient(ours)
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer theirs.Close()
			h := newRawHost(t, theirs)
			var hello agent.Hello
			if json.Unmarshal(h.await(agent.TypeHello).Payload, &hello) != nil {
				return
			}
			h.send(agent.TypeWelcome, 0, `{"protocol":1,"nonce":"`+hello.Nonce+`"}`)
			h.await(agent.TypeRequest)
			_, _ = theirs.Write(b)
		}()
		_, _ = c.Exec(t.Context(), agent.ExecRequest{Argv: []string{"x"}})
		_ = c.Close()
		<-done
	})
}
