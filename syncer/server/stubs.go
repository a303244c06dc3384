package server

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"time"
)

func (s *Server) getState(w http.ResponseWriter, r *http.Request, d caller) error { return errors.ErrUnsupported }
func (s *Server) history(w http.ResponseWriter, r *http.Request, d caller) error { return errors.ErrUnsupported }
func (s *Server) fetch(w http.ResponseWriter, r *http.Request, d caller) error { return errors.ErrUnsupported }
func (s *Server) offer(w http.ResponseWriter, r *http.Request, d caller) error { return errors.ErrUnsupported }
func (s *Server) upload(w http.ResponseWriter, r *http.Request, d caller) error { return errors.ErrUnsupported }
func (s *Server) push(w http.ResponseWriter, r *http.Request, d caller) error { return errors.ErrUnsupported }

func (s *Server) TLS() *tls.Config { return s.authority.ServerTLS(s.hosts) }
func (s *Server) Serve(ctx context.Context, l net.Listener, drain time.Duration) error {
	return errors.ErrUnsupported
}
