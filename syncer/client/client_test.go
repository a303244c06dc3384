package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"satchel/store"
	"satchel/syncer"
	"satchel/syncer/identity"
	"satchel/syncer/wire"
)

// short is a patience that tests can sit out.
const short = 50 * time.Millisecond

func refuse(w http.ResponseWriter, err error) {
	e, status := syncer.ToError(err)
	w.Header().Set("Content-Type", mediaJSON)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(e)
}

// streamTo answers with a stream.
func streamTo(w http.ResponseWriter, write func(*wire.Writer)) {
	w.Header().Set("Content-Type", wire.MediaType)
	write(wire.NewWriter(w))
}

func stateOf(t *testing.T, f far, stall time.Duration) error {
	t.Helper()
	_, err := f.client(t, stall).State(t.Context(), "", 0)
	return err
}

func TestNewRefuses(t *testing.T) {
	conf, err := identity.ClientTLS(newAuthority(t).Certificate(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, server := range []string{"", "sync.example", "http://sync.example", "https://", "https://u:p@sync.example",
		"https://sync.example/path", "https://sync.example?q", "https://:443", "https://sync.example#f", "https://[::1"} {
		if _, err := New(Options{Server: server, TLS: conf}); err == nil {
			t.Errorf("%q: taken", server)
		}
	}
	for _, server := range []string{"https://sync.example", "https://sync.example:8443/", "https://[::1]:8443"} {
		if _, err := New(Options{Server: server, TLS: conf}); err != nil {
			t.Error(err)
		}
	}
	if _, err := New(Options{Server: "https://sync.example"}); err == nil {
		t.Error("trusts nobody in particular")
	}
}

// TestMessages checks what each method sends.
func TestMessages(t *testing.T) {
	var got, agent string
	f := serve(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got, agent = r.Method+" "+r.URL.String()+" "+string(b), r.Header.Get("User-Agent")
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		_, _ = io.WriteString(w, `{"revision":"7","name":"x"}`)
	})
	c := f.client(t, 0)
	ctx := t.Context()
	layer := "/v1/layers/" + aLayer.String()
	from, to := store.ID{1}, store.ID{2}
	for _, test := range []struct {
		want string
		do   func() error
	}{
		{"GET /v1/state ", func() error { _, err := c.State(ctx, "", time.Minute); return err }},
		{"GET /v1/state?seen=a%26b&wait=30 ", func() error { _, err := c.State(ctx, "a&b", 30*time.Second); return err }},
		{"GET /v1/state?seen=7&wait=60 ", func() error { _, err := c.State(ctx, "7", time.Hour); return err }},
		{`POST /v1/renew {"csr":"AQI="}`, func() error { _, err := c.Renew(ctx, []byte{1, 2}); return err }},
		{"POST " + layer + `/push {"from":"` + from.String() + `","to":"` + to.String() + `"}`,
			func() error { return c.Push(ctx, aLayer, from, to) }},
	} {
		if err := test.do(); err != nil {
			t.Errorf("%s: %v", test.want, err)
		}
		if got != test.want {
			t.Errorf("sent %q, want %q", got, test.want)
		}
	}
	if agent != "satchel" {
		t.Errorf("calls itself %q", agent)
	}
	if tr := c.Traffic(); tr.Up < 500 || tr.Down < 500 {
		t.Errorf("traffic %+v", tr)
	}
}

// TestRefusals has a server refuse with each error, in JSON and in a stream.
func TestRefusals(t *testing.T) {
	for _, want := range []error{syncer.ErrToken, syncer.ErrCertificate, syncer.ErrExpired, syncer.ErrRevoked, syncer.ErrForbidden,
		syncer.ErrForged, syncer.ErrManifest, syncer.ErrNotDescendant, syncer.ErrReplayed, syncer.ErrTooLarge, syncer.ErrMalformed,
		syncer.ErrProtocol, syncer.ErrUnavailable, store.ErrMoved, store.ErrNotExist, store.ErrExist} {
		f := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "history") {
				streamTo(w, func(out *wire.Writer) { _ = out.Fail(want) })
				return
			}
			refuse(w, want)
		})
		c := f.client(t, 0)
		none := func([]byte) error { return nil }
		if err := c.Push(t.Context(), aLayer, store.ID{}, store.ID{1}); !errors.Is(err, want) {
			t.Errorf("push: got %v, want %v", err, want)
		}
		if err := c.Fetch(t.Context(), aLayer, make([]store.ID, 1), none); !errors.Is(err, want) {
			t.Errorf("fetch: got %v, want %v", err, want)
		}
		if err := c.History(t.Context(), aLayer, store.ID{1}, nil, none); !errors.Is(err, want) {
			t.Errorf("history: got %v, want %v", err, want)
		}
		err := c.Upload(t.Context(), aLayer, func(emit func([]byte) error) error {
			for {
				if err := emit(make([]byte, 1<<20)); err != nil {
					return err
				}
			}
		})
		if !errors.Is(err, want) {
			t.Errorf("upload: got %v, want %v", err, want)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	f := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "7")
		refuse(w, syncer.ErrUnavailable)
	})
	err := stateOf(t, f, 0)
	later := (*LaterError)(nil)
	if !errors.As(err, &later) || later.After != 7*time.Second || !errors.Is(err, syncer.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}

// TestHostile has servers answer what they should not.
func TestHostile(t *testing.T) {
	header := func(media, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", media)
			_, _ = io.WriteString(w, text)
		}
	}
	endless := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", mediaJSON)
			w.WriteHeader(status)
			for err := error(nil); err == nil; {
				_, err = w.Write(bytes.Repeat([]byte(`[`), 1<<16))
			}
		}
	}
	status := func(n int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/v1/elsewhere")
			w.WriteHeader(n)
		}
	}
	for _, test := range []struct {
		name    string
		handler http.HandlerFunc
		want    error
	}{
		{"endless message", endless(http.StatusOK), syncer.ErrTooLarge},
		{"endless refusal", endless(http.StatusForbidden), syncer.ErrTooLarge},
		{"web page", header("text/html", "<html>"), syncer.ErrMalformed},
		{"no type", header("", "{}"), syncer.ErrMalformed},
		{"no JSON", header(mediaJSON, "<html>"), syncer.ErrMalformed},
		{"redirect", status(http.StatusTemporaryRedirect), syncer.ErrMalformed},
		{"not found by another server", status(http.StatusNotFound), syncer.ErrMalformed},
		{"gateway", status(http.StatusBadGateway), syncer.ErrUnavailable},
		{"busy", status(http.StatusServiceUnavailable), syncer.ErrUnavailable},
		{"gateway's time-out", status(http.StatusGatewayTimeout), syncer.ErrUnavailable},
		{"huge header", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", strings.Repeat("x", 1<<20))
		}, syncer.ErrUnavailable},
		{"cut off before the answer", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, syncer.ErrUnavailable},
		{"cut off within", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", mediaJSON)
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, "{")
		}, syncer.ErrUnavailable},
	} {
		t.Run(test.name, func(t *testing.T) {
			var asked []string
			f := serve(t, func(w http.ResponseWriter, r *http.Request) {
				asked = append(asked, r.URL.Path)
				test.handler(w, r)
			})
			if err := stateOf(t, f, 0); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			for _, path := range asked {
				if path != "/v1/state" {
					t.Errorf("went to %s", path)
				}
			}
		})
	}
}

func TestStall(t *testing.T) {
	for name, begin := range map[string]string{"in a message": "{", "in a stream": "SLWS\x01\x00\x00\x00"} {
		t.Run(name, func(t *testing.T) {
			f := serve(t, func(w http.ResponseWriter, r *http.Request) {
				media := mediaJSON
				if r.Method == http.MethodPost {
					media = wire.MediaType
					_, _ = io.Copy(io.Discard, r.Body)
				}
				w.Header().Set("Content-Type", media)
				_, _ = io.WriteString(w, begin)
				w.(http.Flusher).Flush()
				<-r.Context().Done() // the client gives up
			})
			err := stateOf(t, f, short)
			if begin != "{" {
				err = f.client(t, short).Fetch(t.Context(), aLayer, make([]store.ID, 1), func([]byte) error { return nil })
			}
			if !errors.Is(err, syncer.ErrUnavailable) || !errors.Is(err, errStalled) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestUploadStalls(t *testing.T) {
	release := make(chan struct{})
	f := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = r.Body.Read(make([]byte, 1)) // has the client begin
		<-release
	})
	defer close(release)
	err := f.client(t, short).Upload(t.Context(), aLayer, func(emit func([]byte) error) error {
		for {
			if err := emit(make([]byte, 1<<20)); err != nil {
				return err
			}
		}
	})
	if !errors.Is(err, syncer.ErrUnavailable) || !errors.Is(err, errStalled) {
		t.Errorf("got %v", err)
	}
}

func TestCallersContext(t *testing.T) {
	begun := make(chan struct{})
	f := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		close(begun)
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-begun
		cancel()
	}()
	_, err := f.client(t, 0).State(ctx, "seen", time.Minute)
	if !errors.Is(err, context.Canceled) || errors.Is(err, syncer.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}

func TestOtherServers(t *testing.T) {
	f := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("asked") })
	f.authority = newAuthority(t)
	if err := stateOf(t, f, 0); !errors.Is(err, identity.ErrServer) || errors.Is(err, syncer.ErrUnavailable) {
		t.Errorf("of another authority: %v", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.url = "https://" + l.Addr().String()
	l.Close()
	if err := stateOf(t, f, 0); !errors.Is(err, syncer.ErrUnavailable) {
		t.Errorf("nobody: %v", err)
	}
}

func TestServerWithoutTLS(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l)
	}()
	defer func() { s.Close(); <-done }()
	if err := stateOf(t, far{newAuthority(t), "https://" + l.Addr().String()}, 0); !errors.Is(err, syncer.ErrMalformed) {
		t.Errorf("got %v", err)
	}
}

func TestAuthority(t *testing.T) {
	var a *identity.Authority
	f := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/ca" {
			_, _ = w.Write(a.Certificate())
		}
	})
	a = f.authority
	ca, err := Authority(t.Context(), f.url, a.Fingerprint())
	if err != nil || !bytes.Equal(ca, a.Certificate()) {
		t.Errorf("got %d bytes, %v", len(ca), err)
	}
	if ca, err := Authority(t.Context(), f.url, newAuthority(t).Fingerprint()); !errors.Is(err, identity.ErrServer) || ca != nil && err == nil {
		t.Errorf("another fingerprint: %v", err)
	}
	if _, err := Authority(t.Context(), f.url, "sha256:00"); !errors.Is(err, syncer.ErrMalformed) {
		t.Errorf("no fingerprint: %v", err)
	}
}

func TestAdmin(t *testing.T) {
	f := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer sesame" {
			refuse(w, syncer.ErrToken)
			return
		}
		if r.Method == http.MethodDelete {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", mediaJSON)
		_ = json.NewEncoder(w).Encode(syncer.Handout{Title: r.Method + " " + r.URL.String() + " " + string(b)})
	})
	conf := f.client(t, 0).http.TLSClientConfig
	admin, err := NewAdmin(Options{Server: f.url, TLS: conf}, "sesame")
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	if err := admin.Do(t.Context(), http.MethodDelete, "users/ana", nil, nil); err != nil {
		t.Error(err)
	}
	got, err := admin.Handout(t.Context(), HandoutRequest{To: "group:4b", Into: "/home/{user}", Title: "A & B"}, strings.NewReader("tar"))
	if want := "POST /v1/admin/handouts?into=%2Fhome%2F%7Buser%7D&title=A+%26+B&to=group%3A4b tar"; err != nil || got.Title != want {
		t.Errorf("got %q, %v, want %q", got.Title, err, want)
	}
	wrong, err := NewAdmin(Options{Server: f.url, TLS: conf}, "open")
	if err != nil {
		t.Fatal(err)
	}
	defer wrong.Close()
	if err := wrong.Do(t.Context(), http.MethodGet, "users", nil, nil); !errors.Is(err, syncer.ErrToken) {
		t.Errorf("wrong token: %v", err)
	}
}

var errSender = fmt.Errorf("the sender failed")
