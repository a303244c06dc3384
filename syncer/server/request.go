package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"
)

// request is what is known of a request while it is served.
type request struct {
	id     string
	device string // empty until it is known
	end    context.CancelCauseFunc
	attrs  []slog.Attr // for the log
}

type requestKey struct{}

// requestOf returns what is known of a request.
func requestOf(r *http.Request) *request {
	q, ok := r.Context().Value(requestKey{}).(*request)
	if !ok { // a handler is tested by itself
		q = &request{end: func(error) {}}
	}
	return q
}

// note adds to what the log will say of a request.
func note(r *http.Request, attrs ...slog.Attr) {
	q := requestOf(r)
	q.attrs = append(q.attrs, attrs...)
}

// observe counts and logs requests, gives their connections deadlines and turns
// panics into answers.
func (s *Server) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.running.Add(1)
		defer s.running.Done()
		began := time.Now()
		ctx, cancel := context.WithCancelCause(r.Context())
		defer cancel(nil)
		q := &request{id: requestID(r), end: cancel}
		c := newConn(ctx, w, r.Body, s.idle)
		r = r.WithContext(context.WithValue(ctx, requestKey{}, q))
		r.Body = c
		w.Header().Set("X-Request-Id", q.id)
		defer context.AfterFunc(ctx, c.expire)()
		defer func() {
			if p := recover(); p != nil {
				c.failed(r, p)
			}
			c.last()
			s.done(r, q, c, time.Since(began))
		}()
		next.ServeHTTP(c, r)
	})
}

// failed answers a request whose handler panicked, if it still can.
func (c *conn) failed(r *http.Request, p any) {
	if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(p)
	}
	note(r, slog.String("stack", string(debug.Stack())))
	if !c.begun {
		writeError(c, r, fmt.Errorf("panic: %v", p))
	}
}

// done counts and logs a request that has ended.
func (s *Server) done(r *http.Request, q *request, c *conn, took time.Duration) {
	route := r.Pattern
	if route == "" || route == "/" {
		route = "other"
	}
	s.metrics.request(route, c.status, took)
	level := slog.LevelInfo
	switch {
	case c.status >= http.StatusInternalServerError && c.status != http.StatusServiceUnavailable:
		level = slog.LevelError
	case route == "GET /healthz":
		level = slog.LevelDebug
	}
	attrs := append([]slog.Attr{
		slog.String("request", q.id), slog.String("device", q.device), slog.String("route", route),
		slog.Int("status", c.status), slog.Int64("bytes_in", c.in), slog.Int64("bytes_out", c.out),
		slog.Float64("seconds", took.Seconds()), slog.String("remote", r.RemoteAddr),
	}, q.attrs...)
	s.log.LogAttrs(context.WithoutCancel(r.Context()), level, "request", attrs...)
}

// requestID takes over the ID that a request brings, if it is a sane one.
func requestID(r *http.Request) string {
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
	id := r.Header.Get("X-Request-Id")
	if id == "" || len(id) > 64 || strings.Trim(id, allowed) != "" {
		return rand.Text()
	}
	return id
}
