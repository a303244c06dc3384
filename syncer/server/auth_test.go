package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"satchel/layers"
	"satchel/store"
	"satchel/syncer"
	"satchel/syncer/identity"
	"satchel/syncer/wire"
)

func TestInit(t *testing.T) {
	dir := filepath.Join(memoryDir(t), "srv")
	made, err := Init(dir)
	ok(t, err)
	if _, err := Init(dir); !errors.Is(err, store.ErrExist) {
		t.Fatalf("made twice: %v", err)
	}
	s, err := Open(dir, Options{})
	ok(t, err)
	if s.Fingerprint() != made.Fingerprint || s.registry.Server() != made.Server {
		t.Fatalf("made %+v", made)
	}
	ok(t, s.registry.Admin(identity.HashSecret(made.AdminToken)))
	if _, err := Open(dir, Options{}); !errors.Is(err, store.ErrBusy) {
		t.Fatalf("opened twice: %v", err)
	}
	ok(t, s.Close())
	if _, err := Open(t.TempDir(), Options{}); !errors.Is(err, store.ErrNotExist) {
		t.Fatalf("opened where there is none: %v", err)
	}
}

func TestNewAdminToken(t *testing.T) {
	dir := filepath.Join(memoryDir(t), "srv")
	_, err := NewAdminToken(dir)
	wantErr(t, err, store.ErrNotExist)
	made, err := Init(dir)
	ok(t, err)
	token, err := NewAdminToken(dir)
	ok(t, err)
	s, err := Open(dir, Options{})
	ok(t, err)
	wantErr(t, s.registry.Admin(identity.HashSecret(made.AdminToken)), syncer.ErrToken)
	ok(t, s.registry.Admin(identity.HashSecret(token)))
	_, err = NewAdminToken(dir)
	wantErr(t, err, store.ErrBusy)
	ok(t, s.Close())
}

func TestInitAgain(t *testing.T) {
	for name, c := range map[string]struct {
		files []string
		want  error
	}{
		"a store half made":    {[]string{"ca/ca.key", "store/tmp/heads.db"}, nil},
		"a registry half made": {[]string{"ca/ca.key", "store/config.json", "registry.db.new", "uploads.db"}, nil},
		"somebody's files":     {[]string{"letter.txt"}, store.ErrExist},
		"a store in use":       {[]string{"store/config.json", "store/packs/aa/pack"}, store.ErrExist},
	} {
		t.Run(name, func(t *testing.T) {
			dir := memoryDir(t)
			for _, f := range c.files {
				put(t, filepath.Join(dir, f), "x")
			}
			_, err := Init(dir)
			if !errors.Is(err, c.want) {
				t.Fatalf("error %v, want %v", err, c.want)
			}
		})
	}
}

func TestCertificates(t *testing.T) {
	s, foreign := serve(t, Options{}), serve(t, Options{})
	g := s.enrol("ana", "laptop")
	stranger := foreign.enrol("ana", "laptop")
	revoked := s.enrol("ana", "lost")
	_, err := s.registry.Revoke("lost")
	ok(t, err)
	other, csr, err := identity.NewKey() // signed, but never enrolled
	ok(t, err)
	forged, err := s.authority.Sign(csr, "laptop", time.Hour)
	ok(t, err)
	expired, err := s.authority.Sign(g.csr, "laptop", -time.Second)
	ok(t, err)
	for name, c := range map[string]struct {
		client *http.Client
		want   error
	}{
		"good":                 {g.http, nil},
		"none":                 {s.client(nil, nil), syncer.ErrCertificate},
		"of another authority": {s.client(stranger.key, stranger.got.Certificate), syncer.ErrCertificate},
		"of another key":       {s.client(other, forged), syncer.ErrCertificate},
		"expired":              {s.client(g.key, expired), syncer.ErrExpired},
		"revoked":              {revoked.http, syncer.ErrRevoked},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := (&gadget{site: s, http: c.client}).state()
			if !errors.Is(err, c.want) {
				t.Fatalf("error %v, want %v", err, c.want)
			}
		})
	}
}

func TestEnrol(t *testing.T) {
	s := serve(t, Options{})
	g := s.enrol("ana", "laptop")
	if again := s.enrol("ana", "laptop"); again.got.Device == g.got.Device {
		t.Fatal("two devices have one name")
	} else if st, err := again.state(); err != nil || st.Device != again.got.Device {
		t.Fatalf("state %+v, %v", st, err)
	}
	fresh := &gadget{site: s, http: s.client(nil, nil)}
	good := syncer.EnrolRequest{Token: s.token("ana"), Name: "new", CSR: g.csr}
	for name, c := range map[string]struct {
		change func(*syncer.EnrolRequest)
		want   error
	}{
		"wrong token": {func(r *syncer.EnrolRequest) { r.Token = identity.NewSecret() }, syncer.ErrToken},
		"no token":    {func(r *syncer.EnrolRequest) { r.Token = "" }, syncer.ErrToken},
		"bad name":    {func(r *syncer.EnrolRequest) { r.Name = "../x" }, syncer.ErrMalformed},
		"bad request": {func(r *syncer.EnrolRequest) { r.CSR = []byte("x") }, syncer.ErrMalformed},
		"huge":        {func(r *syncer.EnrolRequest) { r.Token = strings.Repeat("x", maxEnrol) }, syncer.ErrTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			req := good
			c.change(&req)
			wantErr(t, fresh.json("POST", "/v1/enrol", req, nil), c.want)
		})
	}
	_, err := fresh.do("POST", "/v1/enrol", strings.NewReader("{} {}"))
	wantErr(t, err, syncer.ErrMalformed)
}

func TestWrongTokensAreLimited(t *testing.T) {
	s := serve(t, Options{})
	g := s.enrol("ana", "laptop")
	fresh := &gadget{site: s, http: s.client(nil, nil)}
	req := syncer.EnrolRequest{Token: "wrong", Name: "new", CSR: g.csr}
	var err error
	for range maxAttempts + 1 {
		err = fresh.json("POST", "/v1/enrol", req, nil)
	}
	wantErr(t, err, syncer.ErrUnavailable)
	req.Token = s.token("ana")
	wantErr(t, fresh.json("POST", "/v1/enrol", req, nil), syncer.ErrUnavailable) // nor is a right one looked at
	_, err = g.state()
	ok(t, err)
}

func TestAttemptsAreBounded(t *testing.T) {
	a := newAttempts()
	wrong := func() error { return syncer.ErrToken }
	addr := func(i int) string {
		return "[2001:db8:" + string("0123456789abcdef"[i%16]) + ":" + strings.Repeat("1", 1+i/16%4) + "::" + "1]:1"
	}
	for i := range 64 {
		wantErr(t, a.try(addr(i), wrong), syncer.ErrToken)
	}
	if a.find("[2001:db8:0:1::1]:5") != a.find("[2001:db8:0:1::2]:6") || a.find("10.0.0.1:1") == a.find("10.0.0.2:1") {
		t.Fatal("a site is one address of IPv6, a host one of IPv4")
	}
	for i := range 3 * maxAttempters {
		ok(t, a.try("10."+itoa(i>>16)+"."+itoa(i>>8&255)+"."+itoa(i&255)+":1", func() error { return nil }))
	}
	if len(a.by) > maxAttempters {
		t.Fatalf("%d addresses are remembered", len(a.by))
	}
	for range maxAttempts {
		_ = a.try(addr(0), wrong)
	}
	wantErr(t, a.try(addr(0), wrong), syncer.ErrUnavailable)
}

func TestRenew(t *testing.T) {
	s := serve(t, Options{})
	g := s.enrol("ana", "laptop")
	var got syncer.Renewed
	csr, err := g.key.Request()
	ok(t, err)
	ok(t, g.json("POST", "/v1/renew", syncer.RenewRequest{CSR: csr}, &got))
	_, err = (&gadget{site: s, http: s.client(g.key, got.Certificate)}).state()
	ok(t, err)
	_, csr, err = identity.NewKey()
	ok(t, err)
	wantErr(t, g.json("POST", "/v1/renew", syncer.RenewRequest{CSR: csr}, nil), syncer.ErrForbidden)
}

func TestForAnyone(t *testing.T) {
	s := serve(t, Options{})
	g := &gadget{site: s, http: s.client(nil, nil)}
	ca, err := g.do("GET", "/v1/ca", nil)
	ok(t, err)
	ok(t, identity.CheckFingerprint(ca, s.Fingerprint()))
	_, err = g.do("GET", "/healthz", nil)
	ok(t, err)
	for path, want := range map[string]error{
		"/v2/state":       syncer.ErrProtocol,
		"/v1/state":       syncer.ErrCertificate,
		"/v1/nothing":     store.ErrNotExist,
		"/metrics":        syncer.ErrToken,
		"/v1/admin/users": syncer.ErrToken,
	} {
		_, err := g.do("GET", path, nil)
		if !errors.Is(err, want) {
			t.Errorf("%s: error %v, want %v", path, err, want)
		}
	}
}

func TestRequestID(t *testing.T) {
	s := serve(t, Options{})
	for sent, want := range map[string]bool{"abc-1.2_3": true, "": false, "a b": false, strings.Repeat("x", 65): false} {
		req, err := http.NewRequestWithContext(t.Context(), "GET", s.url+"/healthz", nil)
		ok(t, err)
		req.Header.Set("X-Request-Id", sent)
		resp, err := s.client(nil, nil).Do(req)
		ok(t, err)
		resp.Body.Close()
		if got := resp.Header.Get("X-Request-Id"); got == "" || (got == sent) != want {
			t.Errorf("sent %q, got %q", sent, got)
		}
	}
}

func TestMetrics(t *testing.T) {
	s := serve(t, Options{})
	g := s.enrol("ana", "laptop")
	l := g.create("data", layers.Data)
	g.send(l, store.ID{}, g.commit(l, map[string]string{"a": "one"}))
	req, err := http.NewRequestWithContext(t.Context(), "GET", s.url+"/metrics", nil)
	ok(t, err)
	req.Header.Set("Authorization", "Bearer "+s.admin)
	resp, err := s.client(nil, nil).Do(req)
	ok(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	ok(t, err)
	for _, want := range []string{
		`satchel_pushes_total{outcome="ok"} 1`,
		`satchel_chunks_total{direction="in"} 3`,
		`satchel_requests_total{code="200",route="POST /v1/layers/{id}/push"} 1`,
		"satchel_store_chunks 3",
		"satchel_devices_connected 0",
		"go_goroutines",
		"process_open_fds",
	} {
		if !bytes.Contains(b, []byte(want)) {
			t.Errorf("no %s", want)
		}
	}
}

// TestRevokedInPush revokes a device whose push waits for those of others.
func TestRevokedInPush(t *testing.T) {
	s := serve(t, Options{})
	g := s.enrol("ana", "laptop")
	l := g.create("data", layers.Data)
	v := g.commit(l, map[string]string{"a": "one"})
	ok(t, g.upload(l.ID, g.reach(v)...))
	ok(t, s.checks.Acquire(t.Context(), 1))
	defer s.checks.Release(1)
	done := make(chan error, 1)
	go func() { done <- g.push(l.ID, store.ID{}, v) }()
	for connected := false; !connected; runtime.Gosched() {
		s.metrics.mu.Lock()
		connected = s.metrics.devices["laptop"] > 0
		s.metrics.mu.Unlock()
	}
	_, err := s.registry.Revoke("laptop")
	ok(t, err)
	wantErr(t, <-done, syncer.ErrRevoked)
}

// TestRevokedInTransfer revokes a device that is in the middle of an upload.
func TestRevokedInTransfer(t *testing.T) {
	s := serve(t, Options{})
	g := s.enrol("ana", "laptop")
	l := g.create("data", layers.Data)
	v := g.commit(l, map[string]string{"a": "one"})

	body, send := io.Pipe()
	done := make(chan error, 1)
	go func() {
		_, err := g.do("POST", at(l.ID, "upload"), body)
		done <- err
	}()
	stream := wire.NewWriter(send)
	var frame []byte
	ok(t, g.st.Frames(t.Context(), g.reach(v), func(f []byte) error {
		frame = bytes.Clone(f)
		return nil
	}))
	go func() {
		for stream.Frame(frame) == nil { //nolint:revive // until the server has had enough
		}
	}()
	for in := s.metrics.bytes.WithLabelValues("in"); counter(t, in) == 0; {
		select {
		case err := <-done:
			t.Fatalf("the upload ended: %v", err)
		default:
		}
	}
	_, err := s.registry.Revoke("laptop")
	ok(t, err)
	err = <-done
	body.CloseWithError(context.Canceled)
	if err == nil {
		t.Fatal("a revoked device has uploaded")
	}
	_, err = g.state()
	wantErr(t, err, syncer.ErrRevoked)
}
