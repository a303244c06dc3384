package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// A Proxy lends the link of one [Client] to others: each connection it serves
// speaks the same protocol as the guest. Credit passes through, so a client
// that does not read holds up its own streams only. When a connection ends, so
// do its streams.
type Proxy struct {
	client *Client
}

// NewProxy returns a proxy over c, which stays usable and the caller's.
func NewProxy(c *Client) *Proxy { return &Proxy{c} }

// Serve accepts connections until ctx ends or ln fails, and waits for them to
// end. It closes ln. When ctx ends it returns nil.
func (p *Proxy) Serve(ctx context.Context, ln net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer ln.Close()
	defer cancel()
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	for {
		conn, err := ln.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept client of guest agent: %w", err)
		}
		wg.Go(func() { _ = p.ServeConn(ctx, conn) }) // its end is its client's business
	}
}

// ServeConn serves one connection until it ends, ctx ends or the guest is gone.
// It closes conn.
func (p *Proxy) ServeConn(ctx context.Context, conn net.Conn) error {
	ctx, cancel := context.WithCancel(ctx)
	l := &lease{ctx: ctx, client: p.client, link: link{w: conn}, streams: make(map[uint32]*stream)}
	defer l.wg.Wait()
	defer conn.Close() // before the wait: a client that does not read holds relays up
	defer cancel()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	l.wg.Go(func() {
		defer cancel()
		select {
		case <-p.client.gone:
		case <-ctx.Done():
		}
	})
	err := l.read(NewReader(conn))
	l.end()
	if errors.Is(err, io.EOF) || ctx.Err() != nil {
		return nil
	}
	return err
}

// A lease is one client of a proxy.
type lease struct {
	ctx    context.Context // of the connection
	client *Client
	link   link // towards the client
	wg     sync.WaitGroup

	mu      sync.Mutex
	streams map[uint32]*stream // the guest's streams by the client's numbers
}

// read is the read loop. It writes to the guest's link, never to its own.
func (l *lease) read(r *Reader) error {
	for {
		f, err := r.Next()
		if err != nil {
			return err
		}
		switch f.Type {
		case TypeHello:
			l.hello(f)
		case TypeRequest:
			err = l.open(f)
		case TypeStdin, TypeCredit, TypeSignal, TypeResize, TypeClose:
			err = l.pass(f)
		default:
			err = fmt.Errorf("client of guest agent sent a frame of type %d", f.Type)
		}
		if err != nil {
			return err
		}
	}
}

// hello answers for the guest, once the guest is there.
func (l *lease) hello(f Frame) {
	var hello Hello
	if err := json.Unmarshal(f.Payload, &hello); err != nil {
		return
	}
	l.wg.Go(func() {
		info, err := l.client.Hello(l.ctx)
		if err != nil {
			return // the lease ends with the guest or the client
		}
		msg, err := encode(Welcome{Protocol: Protocol, Nonce: hello.Nonce, Info: info})
		if err == nil {
			_ = l.link.send(0, Frame{Type: TypeWelcome, Payload: msg})
		}
	})
}

// open passes a request on under a number of the guest's link.
func (l *lease) open(f Frame) error {
	up, err := l.client.open(true)
	if err != nil {
		return err
	}
	l.mu.Lock()
	taken := l.streams[f.Stream] != nil || len(l.streams) >= maxStreams
	if !taken {
		l.streams[f.Stream] = up
	}
	l.mu.Unlock()
	if taken {
		l.client.drop(up)
		return fmt.Errorf("client of guest agent opened stream %d out of turn", f.Stream)
	}
	l.wg.Go(func() { l.relay(f.Stream, up) })
	return up.send(Frame{TypeRequest, up.id, f.Payload})
}

// relay passes what the guest sends on one stream to the client.
func (l *lease) relay(id uint32, up *stream) {
	defer l.client.drop(up)
	for {
		f, err := up.recv()
		if err != nil {
			msg, _ := encode(Reply{Error: err.Error(), Code: CodeNotStarted})
			f = Frame{Type: TypeReply, Payload: msg}
		}
		if f.Type == TypeReply {
			l.forget(id)
		}
		f.Stream = id
		sendErr := l.link.send(0, f)
		if err != nil || sendErr != nil {
			l.forget(id)
			_ = up.send(Frame{Type: TypeClose, Stream: up.id}) // the guest may be gone
			return
		}
		if f.Type == TypeReply {
			return
		}
	}
}

func (l *lease) forget(id uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.streams, id)
}

// pass hands a frame of the client's to the guest.
func (l *lease) pass(f Frame) error {
	l.mu.Lock()
	up := l.streams[f.Stream]
	l.mu.Unlock()
	if up == nil {
		return nil // it has ended
	}
	f.Stream = up.id
	return up.send(f)
}

// end gives up all streams; their relays tell the guest.
func (l *lease) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, up := range l.streams {
		up.fail(ErrClosed)
	}
}
