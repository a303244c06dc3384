package client

import (
	"io"
	"log"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"satchel/syncer"
	"satchel/syncer/identity"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A far is the other end: an authority, and what a test has it answer.
type far struct {
	authority *identity.Authority
	url       string
}

func newAuthority(t testing.TB) *identity.Authority {
	t.Helper()
	a, err := identity.CreateAuthority(filepath.Join(t.TempDir(), "ca"), "school")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func serve(t testing.TB, handler http.HandlerFunc) far {
	t.Helper()
	a := newAuthority(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: handler, TLSConfig: a.ServerTLS(nil), ErrorLog: log.New(io.Discard, "", 0)}
	var served sync.WaitGroup
	served.Go(func() { _ = s.ServeTLS(l, "", "") })
	t.Cleanup(func() {
		s.Close()
		served.Wait()
	})
	return far{a, "https://" + l.Addr().String()}
}

// client returns a client that trusts the other end, with a short patience for
// stalls if that is asked for.
func (f far) client(t testing.TB, stall time.Duration) *Client {
	t.Helper()
	conf, err := identity.ClientTLS(f.authority.Certificate(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(Options{Server: f.url, TLS: conf, stall: stall})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

var aLayer = syncer.NewLayer{}.ID
