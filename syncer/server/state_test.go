package server

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"satchel/layers"
	"satchel/store"
	"satchel/syncer"
)

func itoa(i int) string { return strconv.Itoa(i) }

func put(t testing.TB, name, text string) {
	t.Helper()
	ok(t, os.MkdirAll(filepath.Dir(name), 0o700))
	ok(t, os.WriteFile(name, []byte(text), 0o600))
}

func counter(t testing.TB, c prometheus.Metric) float64 {
	t.Helper()
	var m dto.Metric
	ok(t, c.Write(&m))
	return m.GetCounter().GetValue()
}

// wait asks for news, and tells when the server has the request.
func (g *gadget) wait(seen string) (result func() (syncer.State, error)) {
	type answer struct {
		st  syncer.State
		err error
	}
	done := make(chan answer, 1)
	go func() {
		var a answer
		a.err = g.json("GET", "/v1/state?wait=60&seen="+url.QueryEscape(seen), nil, &a.st)
		done <- a
	}()
	for connected := false; !connected && len(done) == 0; runtime.Gosched() {
		g.site.metrics.mu.Lock()
		connected = g.site.metrics.devices[g.got.Device] > 0
		g.site.metrics.mu.Unlock()
	}
	return func() (syncer.State, error) {
		a := <-done
		return a.st, a.err
	}
}

func TestWaitForNews(t *testing.T) {
	s := serve(t, Options{})
	g, other := s.enrol("ana", "laptop"), s.enrol("ana", "desktop")
	l := g.create("data", layers.Data)
	st, err := other.state()
	ok(t, err)
	again, err := other.state()
	ok(t, err)
	if st.Revision == "" || again.Revision != st.Revision {
		t.Fatalf("revisions %q and %q of the same state", st.Revision, again.Revision)
	}

	result := other.wait(st.Revision)
	v := g.commit(l, map[string]string{"a": "one"})
	g.send(l, store.ID{}, v)
	news, err := result()
	ok(t, err)
	if news.Revision == st.Revision || news.Layers[0].Version != v {
		t.Fatalf("news %+v", news)
	}
	if st, err := other.wait("another")(); err != nil || st.Revision != news.Revision {
		t.Fatalf("a device that has seen something else waits: %v", err)
	}

	result = other.wait(news.Revision)
	_, err = s.registry.Revoke("desktop")
	ok(t, err)
	_, err = result()
	wantErr(t, err, syncer.ErrRevoked)
}

func TestDrain(t *testing.T) {
	s := serve(t, Options{})
	g := s.enrol("ana", "laptop")
	st, err := g.state()
	ok(t, err)
	result := g.wait(st.Revision)
	probe := func() int {
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/healthz", nil))
		return w.Code
	}
	if got := probe(); got != http.StatusOK {
		t.Fatalf("health is %d", got)
	}
	s.stop()
	if got := probe(); got != http.StatusServiceUnavailable {
		t.Fatalf("health is %d after the drain", got)
	}
	if got, err := result(); err != nil || got.Revision != st.Revision {
		t.Fatalf("a device that waited got %v, %v", got.Revision, err)
	}
}

func TestMalformedWait(t *testing.T) {
	s := serve(t, Options{})
	g := s.enrol("ana", "laptop")
	for _, wait := range []string{"x", "-1", "1.5", "99999999999"} {
		wantErr(t, g.json("GET", "/v1/state?wait="+wait, nil, nil), syncer.ErrMalformed)
	}
}

// TestFleetWaits has many devices wait, and all hear of one push.
func TestFleetWaits(t *testing.T) {
	s := serve(t, Options{})
	pub := s.enrol("pub", "builder")
	l := pub.create("debian", layers.OS)
	_, err := s.registry.SetGrant(l.ID, syncer.Grant{To: "all", Access: syncer.Read})
	ok(t, err)
	g := s.enrol("ana", "laptop")
	st, err := g.state()
	ok(t, err)
	var fleet sync.WaitGroup
	results := make([]store.ID, 50)
	for i := range results {
		result := g.wait(st.Revision)
		fleet.Go(func() {
			if st, err := result(); err == nil && len(st.Layers) == 1 {
				results[i] = st.Layers[0].Version
			}
		})
	}
	v := pub.commit(l, map[string]string{"a": "one"})
	pub.send(l, store.ID{}, v)
	fleet.Wait()
	for i, got := range results {
		if got != v {
			t.Fatalf("device %d heard of %v", i, got)
		}
	}
}
