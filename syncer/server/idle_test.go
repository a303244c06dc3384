package server

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"satchel/layers"
	"satchel/store"
	"satchel/syncer"
	"satchel/syncer/identity"
)

// TestIdle stops in the middle of bodies: the server gives up waiting, and a
// transfer that others wait for is over.
func TestIdle(t *testing.T) {
	s := serve(t, Options{Transfers: 1, idle: 50 * time.Millisecond})
	g := s.enrol("ana", "laptop")
	l := g.create("data", layers.Data)
	for _, verb := range []string{"upload", "fetch", "offer", "push"} {
		body, stalled := io.Pipe()
		go stalled.Write([]byte("S")) //nolint:errcheck // nothing follows
		_, err := g.do("POST", at(l.ID, verb), body)
		stalled.Close()
		wantErr(t, err, syncer.ErrMalformed)
	}
	g.send(l, store.ID{}, g.commit(l, map[string]string{"a": "one"}))
}

// TestLog checks what the log says of requests: numbers in units that are
// named, one line each whatever is in it, and no secrets.
func TestLog(t *testing.T) {
	var log bytes.Buffer
	s := serve(t, Options{Log: slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	g := s.enrol("ana", "laptop")
	token := s.token("ana")
	fresh := &gadget{site: s, http: s.client(nil, nil)}
	wantErr(t, fresh.json("POST", "/v1/enrol", syncer.EnrolRequest{Token: token, Name: "a\nb", CSR: g.csr}, nil), syncer.ErrMalformed)
	ok(t, fresh.json("POST", "/v1/enrol", syncer.EnrolRequest{Token: token, Name: "tablet", CSR: g.csr}, nil))
	wrong := identity.NewSecret()
	wantErr(t, fresh.json("POST", "/v1/enrol", syncer.EnrolRequest{Token: wrong, Name: "tablet", CSR: g.csr}, nil), syncer.ErrToken)
	_, err := fresh.do("GET", "/v1/nothing%0Ahere", nil)
	wantErr(t, err, store.ErrNotExist)
	_, err = g.state()
	ok(t, err)
	s.stop()

	for _, secret := range []string{token, wrong, s.admin} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log holds %s", secret)
		}
	}
	requests := 0
	for line := range strings.Lines(log.String()) {
		var e struct {
			Msg     string   `json:"msg"`
			Seconds *float64 `json:"seconds"`
		}
		ok(t, json.Unmarshal([]byte(line), &e))
		if e.Msg != "request" {
			continue
		}
		requests++
		if e.Seconds == nil || *e.Seconds <= 0 || *e.Seconds > 60 {
			t.Errorf("no seconds in %s", line)
		}
	}
	if requests != 6 {
		t.Errorf("%d requests in the log, want 6", requests)
	}
}
