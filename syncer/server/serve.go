package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// How long clients may take for what is not a body.
const (
	headerTimeout  = 20 * time.Second
	keepAlive      = 3 * time.Minute // longer than a device waits between two requests for the state
	maxHeaderBytes = 32 << 10
)

// TLS is the configuration that Handler must be served with.
func (s *Server) TLS() *tls.Config { return s.authority.ServerTLS(s.hosts) }

// Serve serves the API on a listener until ctx is done, and then drains: health
// turns bad, waiting requests are answered, others may end within the time
// given. It closes the listener.
func (s *Server) Serve(ctx context.Context, l net.Listener, drain time.Duration) error {
	hs := &http.Server{
		Handler:           s.Handler(),
		TLSConfig:         s.TLS(),
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       keepAlive,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug), // handshakes that fail, mostly
	}
	served := make(chan error, 1)
	go func() { served <- hs.ServeTLS(l, "", "") }()
	select {
	case err := <-served:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	s.drain.Do(func() { close(s.draining) })
	s.log.Info("draining", slog.Float64("seconds", drain.Seconds()))
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	err := hs.Shutdown(grace)
	if errors.Is(err, context.DeadlineExceeded) {
		s.log.Warn("requests were cut off at the end of the drain")
		err = hs.Close()
	}
	if served := <-served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}
