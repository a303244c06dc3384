package agent_test

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"satchel/vmm/agent"
)

// TestManySmallFrames checks that a reply is not one too many after output in
// many small pieces that nobody has taken yet.
func TestManySmallFrames(t *testing.T) {
	const pieces = 1000
	guestEnd, hostEnd := net.Pipe()
	g := newRawHost(t, guestEnd) // frames are frames: it plays the guest
	c := agent.NewClient(hostEnd)
	t.Cleanup(func() { _ = c.Close() })

	slow := newStuck()
	var got strings.Builder
	type result struct {
		code int
		err  error
	}
	done := make(chan result, 1)
	go func() {
		code, err := c.Exec(t.Context(), agent.ExecRequest{Argv: []string{"x"}, Stdout: writers{slow, &got}})
		done <- result{code, err}
	}()
	nonce := string(g.await(agent.TypeHello).Payload)
	g.send(agent.TypeWelcome, 0, nonce) // it holds the protocol and the nonce, as a welcome does
	stream := g.await(agent.TypeRequest).Stream
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		for {
			if _, err := g.r.Next(); err != nil {
				return
			}
		}
	}()
	for range pieces {
		g.send(agent.TypeStdout, stream, "x")
	}
	g.send(agent.TypeReply, stream, `{"code":7}`)
	g.send(agent.TypeReply, stream+1, `{}`) // has been read only when the one before it has been queued
	<-slow.reached
	close(slow.release)
	if r := <-done; r.err != nil || r.code != 7 {
		t.Errorf("exec: %d, %v", r.code, r.err)
	}
	if got.Len() != pieces {
		t.Errorf("%d bytes of output, want %d", got.Len(), pieces)
	}
	c.Close()
	<-drained
}

// writers writes to each in turn.
type writers struct {
	gate *stuck
	to   *strings.Builder
}

func (w writers) Write(p []byte) (int, error) {
	_, _ = w.gate.Write(p)
	return w.to.Write(p)
}

// TestProxyClientThatDoesNotRead checks that a client which has hung up, but
// never took its output, does not keep its connection for ever.
func TestProxyClientThatDoesNotRead(t *testing.T) {
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "agent"))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	ours, err := net.Dial("unix", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	theirs, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	p := agent.NewProxy(connect(t, here()))
	done := make(chan error, 1)
	go func() { done <- p.ServeConn(context.Background(), theirs) }()

	h := newRawHost(t, ours)
	h.hello("n")
	const streams = 16
	for i := range uint32(streams) {
		h.send(agent.TypeRequest, i+1, fmt.Sprintf(`{"op":"exec","exec":{"argv":["head","-c","%d","/dev/zero"]}}`, agent.Window/2))
	}
	h.await(agent.TypeStdout)
	if err := ours.(*net.UnixConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := theirs.Write([]byte{0}); err == nil {
		t.Error("the connection is still open")
	}
}
