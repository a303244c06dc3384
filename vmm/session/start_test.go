package session

import (
	"context"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"satchel/store"
	"satchel/vmm/delta"
)

// stub takes the place of the guest's binary where no guest is reached.
func stub(t *testing.T) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "satchel-guest")
	must(t, os.WriteFile(file, []byte("stub"), 0o755))
	t.Setenv("SATCHEL_GUEST", file)
}

func TestStartThatFails(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(*house)
		want  string // in the error
		is    error
	}{
		{"no kernel", func(*house) {}, "kernel", nil},
		{"no workspace", func(h *house) { must(h.t, h.Workspaces.Remove("ana")) }, "workspace ana", store.ErrNotExist},
		{"running", func(h *house) {
			unlock, err := h.Workspaces.Lock("ana")
			must(h.t, err)
			h.t.Cleanup(func() { unlock() }) //nolint:errcheck // it ends with the test
		}, "satchel stop ana", store.ErrBusy},
		{"layer gone", func(h *house) {
			head, err := h.Store.Heads().Lookup(h.t.Context(), "os")
			must(h.t, err)
			must(h.t, h.Store.Heads().Remove(h.t.Context(), head.Layer, head.Version))
		}, "layer os of workspace ana", store.ErrNotExist},
		{"runtime directory of others", func(h *house) {
			must(h.t, os.MkdirAll(filepath.Dir(runtimeDir(h.Home, "ana")), 0o755))
		}, "0700", nil},
		{"runtime directory too long", func(h *house) {
			h.t.Setenv("XDG_RUNTIME_DIR", filepath.Join(h.t.TempDir(), strings.Repeat("x", 100)))
		}, "XDG_RUNTIME_DIR", nil},
		{"no binary", func(h *house) { h.t.Setenv("SATCHEL_GUEST", "/nonexistent") }, "SATCHEL_GUEST", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t)
			stub(t)
			tt.spoil(h)
			_, _, err := h.Start(t.Context(), "ana", Options{})
			if err == nil || !strings.Contains(err.Error(), tt.want) || tt.is != nil && !errors.Is(err, tt.is) {
				t.Fatalf("error %v: want one that says %q", err, tt.want)
			}
			if strings.Count(err.Error(), "workspace ana") > 1 {
				t.Errorf("the error says it twice: %v", err)
			}
			if tt.is == nil && len(h.left()) > 0 {
				t.Errorf("the start left %q", h.left())
			}
			if _, err := os.Stat(runtimeDir(h.Home, "ana")); err == nil {
				t.Error("the runtime directory is still there")
			}
			if tt.is == nil {
				unlock, err := h.Workspaces.Lock("ana")
				must(t, err)
				must(t, unlock())
			}
		})
	}
}

// A start that fails removes what no guest has written to, and nothing else.
func TestAbandon(t *testing.T) {
	for _, fresh := range []bool{true, false} {
		h := newHouse(t)
		rec := h.leave(h.disk(work))
		if fresh {
			must(t, os.Remove(rec.Delta))
			must(t, delta.Create(t.Context(), rec.Delta, 64<<20))
		}
		released := false
		s := h.newSession("ana", func() error { released = true; return nil })
		s.rec = &rec
		var order []int
		s.undo(func() error { order = append(order, 1); return nil })
		s.undo(func() error { order = append(order, 2); return errors.New("second") })
		if err := s.abandon(); err == nil || err.Error() != "second" || len(order) != 2 || order[0] != 2 || !released {
			t.Errorf("abandon: %v, undone in order %v, released: %v", err, order, released)
		}
		if left := h.left(); (len(left) == 0) != fresh {
			t.Errorf("fresh disk: %v, but left: %q", fresh, left)
		}
	}
}

func TestRuntimeDirIsEmptied(t *testing.T) {
	h := newHouse(t)
	dir, err := makeRuntimeDir(h.Home, "ana")
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, controlSocket), nil, 0o600))
	again, err := makeRuntimeDir(h.Home, "ana")
	must(t, err)
	if left, err := os.ReadDir(again); again != dir || err != nil || len(left) > 0 {
		t.Errorf("%s holds %v, %v", again, left, err)
	}
	if other := runtimeDir(h.Home, "ben"); other == dir {
		t.Error("two workspaces share a runtime directory")
	}
}

// serving is a session as far as its control socket shows it.
func serving(t *testing.T) (*Session, *Client) {
	t.Helper()
	h := newHouse(t)
	dir, err := makeRuntimeDir(h.Home, "ana")
	must(t, err)
	s := h.newSession("ana", func() error { return nil })
	s.dir = dir
	s.stopping.Do(func() {}) // there is no machine to stop
	l, err := listen(dir, controlSocket)
	must(t, err)
	s.server = http.Server{Handler: s.control(), ReadHeaderTimeout: time.Second}
	served := make(chan error)
	go func() { served <- s.server.Serve(l) }()
	t.Cleanup(func() {
		must(t, s.server.Close())
		<-served
	})
	c, err := Dial(t.Context(), h.Home, "ana")
	must(t, err)
	return s, c
}

func TestControl(t *testing.T) {
	s, c := serving(t)
	s.boot.Kernel = "6.1"
	status, err := c.Status(t.Context())
	if err != nil || status.Workspace != "ana" || status.PID != os.Getpid() || status.Boot.Kernel != "6.1" {
		t.Errorf("status %+v, %v", status, err)
	}
	if _, err := c.Capture(t.Context()); err == nil || !strings.Contains(err.Error(), "recording") {
		t.Errorf("capture of a recording: %v", err)
	}
	if _, err := c.call(t.Context(), "GET", "/stop"); err == nil {
		t.Error("a stop that was not posted was obeyed")
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Stop(gone, false); !errors.Is(err, context.Canceled) {
		t.Errorf("a stop that was given up: %v", err)
	}
	s.end = End{Workspace: "ana", How: "agent"}
	close(s.ended)
	for range 2 { // who comes second is told the same
		if end, err := c.Stop(t.Context(), false); err != nil || end.How != "agent" {
			t.Errorf("stop: %+v, %v", end, err)
		}
	}
}

// What kind of error it was crosses the socket.
func TestControlErrors(t *testing.T) {
	for _, want := range []error{store.ErrNotExist, store.ErrBusy, store.ErrMoved, store.ErrCorrupt, errors.ErrUnsupported} {
		s, c := serving(t)
		s.endErr = errors.Join(errors.New("capture"), want)
		close(s.ended)
		_, err := c.Stop(t.Context(), false)
		if err == nil || !strings.Contains(err.Error(), want.Error()) {
			t.Errorf("error %v, want %v", err, want)
		}
		if known := !errors.Is(want, errors.ErrUnsupported); errors.Is(err, want) != known {
			t.Errorf("error %v is %v: %v", err, want, !known)
		}
	}
}

func TestDialWhatDoesNotRun(t *testing.T) {
	h := newHouse(t)
	if _, err := Dial(t.Context(), h.Home, "ana"); !errors.Is(err, ErrNotRunning) {
		t.Errorf("dial: %v", err)
	}
	dir, err := makeRuntimeDir(h.Home, "ana")
	must(t, err)
	must(t, exec.Command("mknod", filepath.Join(dir, controlSocket), "p").Run()) // left by a crash, say
	if _, err := Dial(t.Context(), h.Home, "ana"); !errors.Is(err, ErrNotRunning) {
		t.Errorf("dial: %v", err)
	}
}
