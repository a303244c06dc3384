package device

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"satchel/layers"
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
