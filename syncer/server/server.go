// Package server is the server's end of the transport.
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// A Server serves one directory.
type Server struct{}

// Made is what the making of a server's directory tells, once.
type Made struct {
	Server      string `json:"server"`
	AdminToken  string `json:"admin_token"`
	Fingerprint string `json:"ca_fingerprint"`
}

// Init makes a server in an empty directory: its store, registry and authority.
func Init(dir string) (Made, error) { return Made{}, errors.ErrUnsupported }

// Options say how a server runs. The zero value is sensible.
type Options struct {
	Log       *slog.Logger  // nil: none
	Life      time.Duration // of devices' certificates; 0: a year
	Hosts     []string      // names and addresses for the server's certificate, beside those of the machine
	Transfers int           // requests that move chunks at the same time; 0: by the number of processors
}

// Open opens a server's directory, which no other process may serve.
func Open(dir string, opt Options) (*Server, error) { return nil, errors.ErrUnsupported }

// Fingerprint names the server's certificate authority.
func (s *Server) Fingerprint() string { return "" }

// Handler is the whole API.
func (s *Server) Handler() http.Handler { return http.NotFoundHandler() }

// Metrics serves what Prometheus reads, without a token.
func (s *Server) Metrics() http.Handler { return http.NotFoundHandler() }

// TLS is the configuration that Handler must be served with.
func (s *Server) TLS() *tls.Config { return nil }

// Serve serves the API on a listener until ctx is done, and then drains:
// health turns bad, waiting requests are answered, others may end within the
// time given.
func (s *Server) Serve(ctx context.Context, l net.Listener, drain time.Duration) error {
	return errors.ErrUnsupported
}

// Close closes the store and the registry.
func (s *Server) Close() error { return nil }
