package server

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"satchel/store"
	"satchel/syncer"
	"satchel/syncer/identity"
)

// A caller is the device that makes a request.
type caller struct {
	syncer.Device
	peer identity.Peer
}

// device turns a function that answers devices into a handler.
func (s *Server) device(f func(w http.ResponseWriter, r *http.Request, d caller) error) http.Handler {
	return handle(func(w http.ResponseWriter, r *http.Request) error {
		d, err := s.identify(r)
		if err != nil {
			return err
		}
		requestOf(r).device = d.Name
		defer s.metrics.connected(d.Name)()
		return f(w, r, d)
	})
}

// identify says which device makes a request. It fails with
// [syncer.ErrCertificate], [syncer.ErrExpired] or [syncer.ErrRevoked].
func (s *Server) identify(r *http.Request) (caller, error) {
	if r.TLS == nil {
		return caller{}, fmt.Errorf("not over TLS: %w", syncer.ErrCertificate)
	}
	peer, err := s.authority.Identify(r.TLS.PeerCertificates, time.Now())
	if err != nil {
		return caller{}, err
	}
	return s.seen(peer)
}

// seen looks up whether a device is still let in.
func (s *Server) seen(peer identity.Peer) (caller, error) {
	d, err := s.registry.Seen(peer.Device, peer.Key)
	return caller{d, peer}, err
}

// layer returns the layer that a request is about. It fails with
// [syncer.ErrForbidden] when the device has not that access to it, and also when
// there is no such layer.
func (s *Server) layer(r *http.Request, d caller, want syncer.Access) (store.LayerID, error) {
	id, err := store.ParseLayerID(r.PathValue("id"))
	if err != nil {
		return id, fmt.Errorf("%w: %w", err, syncer.ErrMalformed)
	}
	return id, s.allow(d, id, want)
}

func (s *Server) allow(d caller, id store.LayerID, want syncer.Access) error {
	have, err := s.registry.Access(d.Device, id)
	if err != nil {
		return fmt.Errorf("layer %s: %w", id, err)
	}
	if have == syncer.Write || have == want {
		return nil
	}
	return fmt.Errorf("%s layer %s: %w", want, id, syncer.ErrForbidden)
}

// guard ends a request that runs for long as soon as its device is revoked or
// loses its access to the layer. The function that it returns ends the watch.
func (s *Server) guard(r *http.Request, d caller, id store.LayerID, want syncer.Access) (done func()) {
	q := requestOf(r)
	ctx, cancel := context.WithCancel(r.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			changed := s.registry.Changed()
			d, err := s.seen(d.peer)
			if err == nil {
				err = s.allow(d, id, want)
			}
			if err != nil {
				q.end(err)
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() {
		cancel()
		<-ended
	}
}

// administrator lets only those through who show the administrator's token.
func (s *Server) administrator(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		if !strings.EqualFold(scheme, "Bearer") {
			writeError(w, r, fmt.Errorf("no administrator's token: %w", syncer.ErrToken))
			return
		}
		err := s.attempts.try(r.RemoteAddr, func() error {
			return s.registry.Admin(identity.HashSecret(strings.TrimSpace(token)))
		})
		if err != nil {
			writeError(w, r, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}
