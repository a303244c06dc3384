package device

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"satchel/layers"
	"satchel/layers/workspace"
	"satchel/store"
	"satchel/syncer"
)

// cramped has a sync of the home give up all that may go.
func (h *home) cramped() { must(h.t, SetBudget(h.dir, 1)) }

// TestEvictAfterServerRestored has a server that was set back, to which what it
// lost cannot be sent yet: that is here alone.
func TestEvictAfterServerRestored(t *testing.T) {
	w := newWorld(t)
	a, b := w.pair()
	kept := a.versions("ana/data", layers.Data, 2, func() { a.sync() })
	w.stop()
	copied := filepath.Join(memoryDir(t), "copy")
	must(t, os.CopyFS(copied, os.DirFS(w.dir)))
	w.start()
	lost := a.versions("ana/data", layers.Data, 3, func() { a.sync() })
	w.stop()
	must(t, os.RemoveAll(w.dir))
	must(t, os.Rename(copied, w.dir))
	w.start()
	bad := "/" + a.head("ana/data").Layer.String() + "/push"
	w.hook(func(r *http.Request) error {
		if strings.HasSuffix(r.URL.Path, bad) {
			return syncer.ErrManifest
		}
		return nil
	})
	a.cramped()
	if _, err := a.dev.Sync(t.Context()); err == nil {
		t.Error("the push did not fail")
	}
	w.hook(nil)
	a.evictAll()
	if a.isHere(kept[0]) || !a.isHere(lost[0]) || !a.isHere(lost[1]) {
		t.Errorf("here: %v of what the server has, and %v and %v of what it lost", a.isHere(kept[0]), a.isHere(lost[0]), a.isHere(lost[1]))
	}
	a.sync()
	b.sync()
	wantSame(t, a, b, "ana/data")
}

// TestEvictOfRemovedLayer keeps the versions of a layer that the server does not
// have any more, from the first sync on that hears of it.
func TestEvictOfRemovedLayer(t *testing.T) {
	w := newWorld(t)
	a, _ := w.pair()
	data := a.versions("ana/data", layers.Data, 3, func() { a.sync() })
	w.lie(func(r *http.Request, body []byte) []byte {
		if r.URL.Path == "/v1/state" {
			var state syncer.State
			must(t, json.Unmarshal(body, &state))
			state.Layers, state.Workspaces = nil, nil
			body, _ = json.Marshal(state)
		}
		return body
	})
	a.cramped()
	if _, err := a.dev.Sync(t.Context()); err != nil {
		t.Log(err)
	}
	for _, id := range data {
		if !a.isHere(id) {
			t.Errorf("version %s went, and the server has no such layer", id.Short())
		}
	}
}

// TestEvictOfUnheardLayer changes a layer that stays as it is, since the server
// shows an older log: that both sides have it is not known.
func TestEvictOfUnheardLayer(t *testing.T) {
	p := newPress(t)
	a := p.pupil("ana", "laptop")
	first := a.head("debian-12").Version
	mine := a.versions("debian-12", layers.OS, 2, func() {})
	p.lie(func(r *http.Request, body []byte) []byte {
		if r.URL.Path == "/v1/state" {
			var state syncer.State
			must(t, json.Unmarshal(body, &state))
			state.Published--
			body, _ = json.Marshal(state)
		}
		return body
	})
	a.cramped()
	if _, err := a.dev.Sync(t.Context()); err == nil {
		t.Error("the older log is believed")
	}
	a.evictAll()
	if a.head("debian-12").Version != mine[1] || !a.isHere(mine[0]) {
		t.Error("what was made here and never sent was evicted")
	}
	if !a.isHere(first) {
		t.Error("the version that both sides had was evicted")
	}
}

// TestWayBackStays goes back to an older version, and on to a newer one. What the
// workspace may go back to, or a session reads, lies in between and stays.
func TestWayBackStays(t *testing.T) {
	for what, need := range map[string]func(h *home, pin workspace.Pin){
		"good": func(h *home, pin workspace.Pin) {
			must(t, h.set.UpdateHealth("desk", func(rec *workspace.Health) error { rec.Good = []workspace.Pin{pin}; return nil }))
		},
		"crashed": func(h *home, pin workspace.Pin) {
			must(t, h.set.SaveSession("desk", workspace.Session{State: workspace.Running, Composed: []workspace.Pin{pin}}))
		},
		"running": func(h *home, pin workspace.Pin) {
			release, err := h.st.Hold(t.Context(), "run desk", pin.Version)
			must(t, err)
			_ = release // it ends with the store
		},
	} {
		t.Run(what, func(t *testing.T) {
			p := newPress(t)
			first := p.pub.head("debian-12").Version
			a := p.pupil("ana", "laptop")
			second := p.version("two")
			p.release(Release{})
			a.sync()
			need(a, workspace.Pin{Kind: layers.OS, Layer: p.layer(), Name: "debian-12", Version: second})
			p.release(Release{Version: first.String(), Back: true})
			a.sync()
			a.wantKept(second)
			p.version("three")
			p.release(Release{})
			a.sync()
			wantOS(t, a, "three")
			a.wantKept(second)
		})
	}
}

// wantKept fails the test unless a version is whole after a gc.
func (h *home) wantKept(id store.ID) {
	h.t.Helper()
	_, err := h.st.Shrink(h.t.Context(), h.repo.Walker(), h.set.Kept, h.set.Roots)
	must(h.t, err)
	if !h.isHere(id) {
		h.t.Error("what is needed is gone")
	}
}
