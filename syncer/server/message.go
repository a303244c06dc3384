package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"

	"satchel/syncer"
)

// readJSON reads the body of a request into v. It fails with
// [syncer.ErrTooLarge] or [syncer.ErrMalformed].
func readJSON(r *http.Request, v any) error { return readMessage(r, v, syncer.MaxJSON) }

// readMessage is readJSON for a body of up to limit bytes.
func readMessage(r *http.Request, v any, limit int) error {
	b, err := io.ReadAll(io.LimitReader(r.Body, int64(limit)+1))
	if err != nil {
		return cutOff(err)
	}
	if len(b) > limit {
		return fmt.Errorf("body of more than %d bytes: %w", limit, syncer.ErrTooLarge)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("body: %w: %w", err, syncer.ErrMalformed)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("body: more than one message: %w", syncer.ErrMalformed)
	}
	return nil
}

// cutOff is the error of a body that did not arrive whole.
func cutOff(err error) error {
	return fmt.Errorf("body was cut off: %w: %w", err, syncer.ErrMalformed)
}

// writeJSON answers with v.
func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	// An error here is one of the connection: nobody is left to tell.
	_ = json.NewEncoder(w).Encode(v)
}

// writeError answers with a refusal, unless an answer has begun already.
func writeError(w http.ResponseWriter, r *http.Request, err error) {
	if cause := context.Cause(r.Context()); cause != nil && errors.Is(err, context.Canceled) {
		err = cause
	}
	if errors.Is(err, context.Canceled) { // the client has gone
		err = fmt.Errorf("given up: %w: %w", syncer.ErrUnavailable, err)
	}
	e, status := syncer.ToError(err)
	if c, ok := w.(*conn); ok {
		if c.begun {
			return
		}
		c.last()
	}
	noteError(r, err)
	if status == http.StatusServiceUnavailable && w.Header().Get("Retry-After") == "" {
		w.Header().Set("Retry-After", "5")
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(e)
}

// noteError has the log say why a request was refused.
func noteError(r *http.Request, err error) {
	e, _ := syncer.ToError(err)
	note(r, slog.String("code", e.Code), slog.Any("error", err))
}
