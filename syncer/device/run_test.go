package device

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fsnotify/fsnotify"

	"satchel/layers"
	"satchel/store"
	"satchel/syncer"
)

// agent is an agent in a goroutine.
type agent struct {
	reports chan Report
	errs    chan error // of syncs
	stop    context.CancelFunc
	done    chan error
}

func (h *home) agent() *agent {
	ctx, cancel := context.WithCancel(h.t.Context())
	a := &agent{reports: make(chan Report, 1000), errs: make(chan error, 1000), stop: cancel, done: make(chan error, 1)}
	go func() {
		a.done <- h.dev.Run(ctx, func(r Report, err error) {
			if err != nil {
				a.errs <- err
			}
			a.reports <- r
		})
	}()
	return a
}

// until waits for a report of which is says yes.
func (a *agent) until(t *testing.T, is func(Report) bool) {
	t.Helper()
	for {
		select {
		case r := <-a.reports:
			if is(r) {
				return
			}
		case <-t.Context().Done():
			t.Fatal("the agent reported nothing of that kind")
		}
	}
}

func pulled(layer string) func(Report) bool {
	return func(r Report) bool { return did(r, layer, func(l LayerReport) bool { return !l.Pulled.IsZero() }) }
}

func pushed(layer string) func(Report) bool {
	return func(r Report) bool { return did(r, layer, func(l LayerReport) bool { return !l.Pushed.IsZero() }) }
}

func did(r Report, layer string, what func(LayerReport) bool) bool {
	for _, l := range r.Layers {
		if l.Name == layer && what(l) {
			return true
		}
	}
	return false
}

// TestAgents has two devices follow each other without being told to.
func TestAgents(t *testing.T) {
	w := newWorld(t)
	a, b := w.pair()
	x, y := a.agent(), b.agent()
	a.commit("ana/data", layers.Data, map[string]string{"f": "1"})
	x.until(t, pushed("ana/data"))
	y.until(t, pulled("ana/data"))
	b.commit("ana/data", layers.Data, map[string]string{"g": "2"})
	y.until(t, pushed("ana/data"))
	x.until(t, pulled("ana/data"))
	wantFiles(t, a, "ana/data", map[string]string{"f": "1", "g": "2"})
	if err := a.dev.Run(t.Context(), func(Report, error) {}); !errors.Is(err, store.ErrBusy) {
		t.Errorf("second agent: %v", err)
	}
	for _, g := range []*agent{x, y} {
		g.stop()
		if err := <-g.done; err != nil {
			t.Errorf("told to end: %v", err)
		}
	}
}

// TestAgentSurvivesTheServer has the server go away and come back.
func TestAgentSurvivesTheServer(t *testing.T) {
	w := newWorld(t)
	a, b := w.pair()
	x := a.agent()
	x.until(t, func(Report) bool { return true })
	w.stop()
	if err := <-x.errs; !errors.Is(err, syncer.ErrUnavailable) {
		t.Errorf("without a server: %v", err)
	}
	a.commit("ana/data", layers.Data, map[string]string{"f": "off line"})
	w.start()
	x.until(t, pushed("ana/data"))
	x.stop()
	must(t, <-x.done)
	b.sync()
	wantSame(t, a, b, "ana/data")
}

func TestAgentEndsWhenRevoked(t *testing.T) {
	w := newWorld(t)
	a, _ := w.pair()
	x := a.agent()
	x.until(t, func(Report) bool { return true })
	w.do("POST", "devices/laptop/revoke", nil, nil)
	if err := <-x.done; !errors.Is(err, syncer.ErrRevoked) || !strings.Contains(err.Error(), "satchel admin device rm laptop") {
		t.Errorf("ended with %v", err)
	}
}

// TestSyncsWaitForEachOther has a sync find the lock taken.
func TestSyncsWaitForEachOther(t *testing.T) {
	w := newWorld(t)
	a, _ := w.pair()
	unlock, err := tryLock(filepath.Join(a.dir, syncLock))
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.dev.Sync(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("while another syncs: %v", err)
	}
	done := make(chan error)
	go func() {
		_, err := a.dev.Sync(t.Context())
		done <- err
	}()
	must(t, unlock())
	must(t, <-done)
}

func TestFilesThatAreDamaged(t *testing.T) {
	for content, want := range map[string]error{
		``:                           store.ErrCorrupt,
		`{`:                          store.ErrCorrupt,
		`{"format":"x","version":1}`: store.ErrCorrupt,
		`{"format":"satchel device","version":0}`:            store.ErrCorrupt,
		`{"format":"satchel device","version":2}`:            store.ErrNewer,
		`{"format":"satchel device","version":1,"url":true}`: store.ErrCorrupt,
	} {
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, configFile), []byte(content), 0o600))
		if _, err := Load(dir); !errors.Is(err, want) || !strings.Contains(err.Error(), configFile) {
			t.Errorf("%q: %v, want %v that names the file", content, err, want)
		}
	}
	if _, err := Load(t.TempDir()); !errors.Is(err, ErrNotEnrolled) {
		t.Errorf("none: %v", err)
	}
}

func TestDeviceName(t *testing.T) {
	for in, want := range map[string]string{
		"laptop": "laptop", "Ana's laptop": "Ana-s-laptop", "": "device", "..": "device", "_x": "x", "a..b": "a-b",
		"größe": "gr--e", strings.Repeat("x", 100): strings.Repeat("x", 64),
	} {
		got := deviceName(in)
		if got != want || syncer.CheckName(got) != nil {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// TestWatchOverflows: what is told of changes may be too much at once. That is a
// change, and no end of the agent.
func TestWatchOverflows(t *testing.T) {
	errs := make(chan error, 1)
	errs <- fsnotify.ErrEventOverflow
	w := &watch{fs: &fsnotify.Watcher{Events: make(chan fsnotify.Event), Errors: errs}}
	if err := w.stir(t.Context()); err != nil {
		t.Error(err)
	}
}
