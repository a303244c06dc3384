package nbd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

const (
	handshakeTime = time.Minute     // for a client to get through the options
	drainTime     = 5 * time.Second // for clients to take the last replies, once the server stops
)

// ErrProtocol reports a client that does not speak NBD as specified.
var ErrProtocol = errors.New("client does not speak NBD")

// A Server serves one export.
type Server struct {
	name        string
	device      *device
	description string
	maxConns    int
	maxRequests int
}

// NewServer returns a server of an export under a name. Clients that ask for
// the empty name get the export as well.
func NewServer(name string, e Export, opt Options) *Server {
	return &Server{
		name:        name,
		device:      newDevice(e),
		description: opt.Description,
		maxConns:    cmp.Or(max(opt.MaxConnections, 0), 32),
		maxRequests: cmp.Or(max(opt.MaxRequests, 0), 16),
	}
}

// Stats tells what the server has done so far.
func (s *Server) Stats() Stats { return s.device.count.stats() }

// Waits is how long the export has been at the request that it has been at for
// longest; zero if it is at none.
func (s *Server) Waits() time.Duration { return s.device.count.oldest() }

// Serve takes connections from l until ctx ends. Then it closes l, lets each
// connection finish the requests that it has read, and returns nil. It fails,
// and stops in the same way, when l does. What a single client does wrong ends
// its connection and nothing else.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { l.Close() })
	var conns sync.WaitGroup
	slots := make(chan struct{}, s.maxConns)
	err := s.accept(ctx, l, slots, &conns)
	if ctx.Err() != nil {
		err = nil
	}
	cancel()
	stop()
	l.Close()
	conns.Wait()
	if err != nil {
		return fmt.Errorf("serve block device: %w", err)
	}
	return nil
}

// accept hands each connection to a goroutine, when there is a slot for it.
func (s *Server) accept(ctx context.Context, l net.Listener, slots chan struct{}, conns *sync.WaitGroup) error {
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		nc, err := l.Accept()
		if err != nil {
			return err
		}
		conns.Go(func() {
			defer func() { <-slots }()
			// The error is the client's affair, and the client is gone.
			_ = s.ServeConn(ctx, nc)
		})
	}
}

// ServeConn serves one connection until the client leaves or ctx ends, and
// closes it. It fails with [ErrProtocol] or with the connection's error.
func (s *Server) ServeConn(ctx context.Context, nc net.Conn) error {
	defer nc.Close()
	if err := nc.SetDeadline(time.Now().Add(handshakeTime)); err != nil {
		return fmt.Errorf("set deadline: %w", err)
	}
	hurry := func() {
		_ = nc.SetReadDeadline(time.Unix(1, 0)) // the reader stops at once
		_ = nc.SetWriteDeadline(time.Now().Add(drainTime))
	}
	stop := context.AfterFunc(ctx, hurry)
	defer stop()
	n := &negotiation{server: s, conn: nc}
	ready, err := n.run()
	if err != nil || !ready {
		return quiet(ctx, err)
	}
	if err := nc.SetDeadline(time.Time{}); err != nil {
		return fmt.Errorf("clear deadline: %w", err)
	}
	if ctx.Err() != nil {
		hurry() // the deadline that it set may have been cleared just now
	}
	s.device.count.connections.Add(1)
	return quiet(ctx, newTransmission(s, nc, n).run())
}

// quiet drops an error that is only the end of the connection.
func quiet(ctx context.Context, err error) error {
	if ctx.Err() != nil || errors.Is(err, io.EOF) {
		return nil //nolint:nilerr // that is how every connection ends
	}
	return err
}
