package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"satchel/syncer"
)

// restless is how long a device that waits is left alone after it was looked at
// for, so that many changes in a row cost no more than a few.
const restless = 100 * time.Millisecond

// getState answers with all that a device has to know, at once or when it is
// something new to the device.
func (s *Server) getState(w http.ResponseWriter, r *http.Request, d caller) error {
	seen, wait, err := waiting(r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), wait)
	defer cancel()
	for {
		if err := s.deliver(r.Context(), d.Device); err != nil {
			return err
		}
		changed := s.registry.Changed()
		if d, err = s.seen(d.peer); err != nil {
			return err
		}
		st, err := s.state(r.Context(), d, changed)
		if err != nil {
			return err
		}
		if st.Revision != seen || !s.pause(ctx, changed) {
			writeJSON(w, st)
			return nil
		}
	}
}

// waiting reads the query of a request for the state.
func waiting(r *http.Request) (seen string, wait time.Duration, err error) {
	q := r.URL.Query()
	if q.Get("wait") == "" {
		return q.Get("seen"), 0, nil
	}
	seconds, err := strconv.ParseUint(q.Get("wait"), 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("wait %.40q: want seconds: %w", q.Get("wait"), syncer.ErrMalformed)
	}
	return q.Get("seen"), min(time.Duration(seconds)*time.Second, syncer.MaxWait), nil
}

// pause waits for a change, and a moment more. It reports false when the wait
// is over or the server ends.
func (s *Server) pause(ctx context.Context, changed <-chan struct{}) bool {
	if ctx.Err() != nil {
		return false
	}
	moment := time.NewTimer(restless)
	defer moment.Stop()
	select {
	case <-changed:
	case <-ctx.Done():
		return false
	case <-s.draining:
		return false
	}
	select {
	case <-moment.C:
	case <-s.draining:
		return false
	}
	return true
}

// state is what a device has to know, with heads of when changed was taken or
// later.
func (s *Server) state(ctx context.Context, d caller, changed <-chan struct{}) (syncer.State, error) {
	st, err := s.registry.View(d.Device)
	if err != nil {
		return st, fmt.Errorf("state of %s: %w", d.Name, err)
	}
	list, err := s.heads(ctx, changed)
	if err != nil {
		return st, err
	}
	for i := range st.Layers {
		st.Layers[i].Version = list[st.Layers[i].ID].Version
	}
	st.Revision = ""
	b, err := json.Marshal(st)
	if err != nil {
		return st, fmt.Errorf("state of %s: %w", d.Name, err)
	}
	sum := sha256.Sum256(b)
	st.Revision = hex.EncodeToString(sum[:16])
	return st, nil
}
