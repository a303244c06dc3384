package device

import (
	"net/http"
	"strings"
	"testing"

	"satchel/layers"
	"satchel/syncer"
)

// TestOvertakenAfterLostPush: the server took a push, but the answer was lost,
// and another device went on from it before the device asked again.
func TestOvertakenAfterLostPush(t *testing.T) {
	w := newWorld(t)
	a, b := w.pair()
	a.commit("ana/data", layers.Data, map[string]string{"f": "1"})
	w.lose("/push", 1)
	pushes := 0
	w.hook(func(r *http.Request) error {
		if strings.HasSuffix(r.URL.Path, "/push") {
			if pushes++; pushes == 2 {
				b.sync()
				b.commit("ana/data", layers.Data, map[string]string{"g": "2"})
				b.sync()
			}
		}
		return nil
	})
	if l := reported(t, a.sync(), "ana/data"); l.Pulled.IsZero() || l.Error != "" {
		t.Errorf("overtaken: %+v", l)
	}
	wantSame(t, a, b, "ana/data")
	wantFiles(t, a, "ana/data", map[string]string{"f": "1", "g": "2"})
}

// TestLayerComesBack removes a layer with its workspace, collects the garbage,
// and asks for both again: what the memo says of it is not here any more.
func TestLayerComesBack(t *testing.T) {
	w := newWorld(t)
	a, b := w.pair()
	for _, content := range []string{"1", "2"} {
		a.commit("ana/data", layers.Data, map[string]string{"f": content})
		a.sync()
		b.sync()
	}
	must(t, b.set.Remove("ana"))
	head := b.head("ana/data")
	must(t, b.st.Heads().Remove(t.Context(), head.Layer, head.Version))
	b.sound()
	b.sound()
	a.commit("ana/data", layers.Data, map[string]string{"f": "3"})
	a.sync()
	b.sync("ana")
	wantSame(t, a, b, "ana/data")
	b.sound()
}

// TestKeptLayerOutlivesItsOrigin: the history of what was kept of a layer that
// others own holds partial versions; they stay so when that layer is removed.
func TestKeptLayerOutlivesItsOrigin(t *testing.T) {
	w := newWorld(t)
	pub := w.withOS()
	pub.commit("debian-12", layers.OS, map[string]string{"etc/a": large(3, 50_000)})
	pub.commit("debian-12", layers.OS, map[string]string{"etc/a": "2"})
	pub.sync()
	a := w.enrolled("ana", "laptop")
	a.bringOS(w)
	a.commit("debian-12", layers.OS, map[string]string{"etc/mine": "1"})
	pub.commit("debian-12", layers.OS, map[string]string{"etc/a": "3"})
	pub.sync()
	a.sync()
	wantFiles(t, a, "debian-12+mine", map[string]string{"etc/a": "2", "etc/mine": "1", "etc/os-release": "Debian 12", "usr/big": large(1, 300_000)})
	head := a.head("debian-12")
	must(t, a.st.Heads().Remove(t.Context(), head.Layer, head.Version))
	a.sound()
}

// TestLastSync: a sync of all is noted as such, however its caller says all.
func TestLastSync(t *testing.T) {
	w := newWorld(t)
	a, _ := w.pair()
	must(t, remove(a.dir, memoFile))
	a.sync([]string{}...)
	st, err := a.dev.Status(t.Context())
	if must(t, err); st.LastSync.IsZero() {
		t.Error("a sync of all was not noted")
	}
}

// TestMemoKnowsWhatWasPushed: when the server cannot be reached, what was pushed
// last is what it has.
func TestMemoKnowsWhatWasPushed(t *testing.T) {
	w := newWorld(t)
	a, _ := w.pair()
	v := a.commit("ana/data", layers.Data, map[string]string{"f": "1"})
	a.sync()
	w.hook(func(*http.Request) error { return syncer.ErrUnavailable })
	st, err := a.dev.Status(t.Context())
	must(t, err)
	for _, l := range st.Workspaces[0].Layers {
		if l.Name == "ana/data" && (l.Remote != v || l.Relation != syncer.Equal) {
			t.Errorf("offline: %+v", l)
		}
	}
}

// TestConflictsDoNotMultiply has three devices change one file in ways that do
// not go together, and sync in all orders: each content is there once.
func TestConflictsDoNotMultiply(t *testing.T) {
	for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		w := newWorld(t)
		a, b := w.pair()
		c := w.enrolled("ana", "tablet")
		a.commit("ana/data", layers.Data, map[string]string{"f.bin": "\x000"})
		homes := []*home{a, b, c}
		for _, h := range homes {
			h.sync()
		}
		contents := []string{"\x00one", "\x00two and", "\x00three and more"}
		for i, h := range homes {
			h.commit("ana/data", layers.Data, map[string]string{"f.bin": contents[i]})
		}
		for range 3 {
			for _, i := range order {
				homes[i].sync()
			}
		}
		wantSame(t, a, b, "ana/data")
		wantSame(t, a, c, "ana/data")
		count := map[string]int{}
		for _, content := range a.files("ana/data") {
			count[content]++
		}
		for _, content := range contents {
			if count[content] != 1 || len(count) != 3 {
				t.Errorf("order %v: files %q", order, a.files("ana/data"))
				break
			}
		}
		if seen := a.history("ana/data"); len(seen) != 1+3+2 {
			t.Errorf("order %v: %d versions", order, len(seen))
		}
	}
}
