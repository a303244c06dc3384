// Package client is a device's and an administrator's end of the transport.
//
// # Vocabulary
//
// An answer is what a server says to a request; a refusal is one that says no.
// A stall is a connection that is there but brings nothing.
//
// # Invariants
//
//   - Nothing that a server sends takes more memory than its kind of message
//     may: messages are bounded by [syncer.MaxJSON], streams by package wire.
//   - A client goes where it was told to and nowhere else: it follows no
//     redirect, and talks to no server of another authority. [Authority] alone
//     does, since it is where trust begins.
//   - Every request ends: connections that are dead, and servers that stall,
//     are given up.
//
// # The one idea
//
// All that can go wrong between two machines is one error,
// [syncer.ErrUnavailable], and means try again. What a server has said is the
// error that it named. Contexts of callers keep their own errors.
package client

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"satchel/syncer"
)

// Options say how a client reaches its server.
type Options struct {
	Server    string      // https://HOST[:PORT]
	TLS       *tls.Config // as package identity makes it
	LimitUp   int64       // bytes a second; 0: no limit
	LimitDown int64
	Agent     string // what the program calls itself; "": satchel

	stall time.Duration // how long nothing may come; 0: a minute
}

// A Client speaks to a server as a device. It implements [syncer.Remote] and may
// be used by several goroutines at once.
//
// Beside the errors that the server names, its methods fail with
// [syncer.ErrUnavailable], with [identity.ErrServer] when another server
// answers, and with [syncer.ErrMalformed] or [syncer.ErrTooLarge] when what
// answers does not keep to the protocol. A refusal that says when to come again
// is a [*LaterError] too.
type Client struct {
	base  *url.URL
	http  *http.Transport
	meter *meter
	head  http.Header   // of every request
	stall time.Duration // how long nothing may come
}

var _ syncer.Remote = (*Client)(nil)

// New returns a client. It connects when it is first used.
func New(opt Options) (*Client, error) {
	base, err := parseServer(opt.Server)
	if err != nil {
		return nil, err
	}
	if opt.TLS == nil {
		return nil, errors.New("a client needs to know whom to trust")
	}
	c := &Client{base: base, meter: newMeter(opt.LimitUp, opt.LimitDown), head: http.Header{}, stall: opt.stall}
	if c.stall == 0 {
		c.stall = stall
	}
	if opt.Agent == "" {
		opt.Agent = "satchel"
	}
	c.head.Set("User-Agent", opt.Agent)
	c.http = newTransport(opt.TLS, c.meter)
	return c, nil
}

// parseServer checks the address of a server.
func parseServer(server string) (*url.URL, error) {
	u, err := url.Parse(server)
	if err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	if u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Path != "" && u.Path != "/" {
		return nil, fmt.Errorf("server %.200q: want https://HOST[:PORT]", server)
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}, nil
}

// Close closes idle connections.
func (c *Client) Close() error {
	c.http.CloseIdleConnections()
	return nil
}

// Traffic counts the bytes that went over the network, TLS included.
type Traffic struct {
	Up   int64 `json:"up"`
	Down int64 `json:"down"`
}

// Traffic returns what has moved so far.
func (c *Client) Traffic() Traffic {
	return Traffic{Up: c.meter.up.count.Load(), Down: c.meter.down.count.Load()}
}

// SetLimits changes the limits of the bandwidth, in bytes a second, also of
// what is under way; 0 lifts one. Less than 8 KiB a second counts as that much.
func (c *Client) SetLimits(up, down int64) {
	c.meter.up.limit(up)
	c.meter.down.limit(down)
}
