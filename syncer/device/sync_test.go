package device

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"satchel/layers"
	"satchel/layers/repo"
	"satchel/store"
	"satchel/syncer"
)

func TestSecondDeviceGetsAll(t *testing.T) {
	w := newWorld(t)
	w.withOS()
	a, b := w.enrolled("ana", "laptop"), w.enrolled("ana", "desk")
	a.bringOS(w)
	a.workspace("ana", "debian-12")
	for i := range 5 {
		a.commit("ana/data", layers.Data, map[string]string{"count": fmt.Sprint(i), fmt.Sprintf("file-%d", i): large(i, 200_000)})
	}
	rep := a.sync()
	if l := reported(t, rep, "ana/data"); l.Found != syncer.Ahead || l.Pushed != a.head("ana/data").Version || l.Moved.Chunks == 0 {
		t.Errorf("pushed: %+v", l)
	}
	rep = b.sync()
	if l := reported(t, rep, "ana/data"); l.Found != syncer.Behind || l.Pulled != a.head("ana/data").Version {
		t.Errorf("pulled: %+v", l)
	}
	wantSame(t, a, b, "ana/data")
	wantSame(t, a, b, "debian-12")
	def, err := b.set.Load("ana")
	must(t, err)
	if def.Local.Name != "ana/local" || def.Local.ID == a.head("ana/local").Layer {
		t.Errorf("local layer %+v", def.Local)
	}
	if n := len(b.history("ana/data")); n != 5 {
		t.Errorf("%d records of versions, want 5", n)
	}
	partial, err := b.st.Heads().Partial(t.Context())
	must(t, err)
	if len(partial) != 4 {
		t.Errorf("%d versions are partial, want 4", len(partial))
	}
	a.sound()
	b.sound()
	b.commit("ana/data", layers.Data, map[string]string{"more": "yes"})
	b.sync()
	a.sync()
	wantSame(t, a, b, "ana/data")
}

func TestBothChange(t *testing.T) {
	tests := []struct {
		name      string
		a, b      map[string]string
		conflicts int
		want      map[string]string // but for kept files
		contents  []string          // that must be somewhere
	}{
		{"different files", map[string]string{"x": "ours"}, map[string]string{"y": "theirs"}, 0,
			map[string]string{"both": "one\ntwo\nthree\n", "x": "ours", "y": "theirs"}, nil},
		{"one text, different lines", map[string]string{"both": "ONE\ntwo\nthree\n"}, map[string]string{"both": "one\ntwo\nTHREE\n"}, 0,
			map[string]string{"both": "ONE\ntwo\nTHREE\n"}, nil},
		{"one file, different contents", map[string]string{"both": "\x00ours"}, map[string]string{"both": "\x00theirs"}, 1,
			nil, []string{"\x00ours", "\x00theirs"}},
		{"removed and changed", map[string]string{"both": ""}, map[string]string{"both": "\x00kept"}, -1,
			nil, []string{"\x00kept"}},
		{"same change", map[string]string{"both": "same"}, map[string]string{"both": "same"}, 0,
			map[string]string{"both": "same"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			a, b := w.pair()
			a.commit("ana/data", layers.Data, map[string]string{"both": "one\ntwo\nthree\n"})
			a.sync()
			b.sync()
			va := a.commit("ana/data", layers.Data, tt.a)
			vb := b.commit("ana/data", layers.Data, tt.b)
			a.sync()
			l := reported(t, b.sync(), "ana/data")
			if va != vb && (l.Found != syncer.Diverged || l.Merged.IsZero() || l.Pushed != l.Merged) {
				t.Errorf("report %+v", l)
			}
			if tt.conflicts >= 0 && len(l.Conflicts) != tt.conflicts {
				t.Errorf("conflicts %+v, want %d", l.Conflicts, tt.conflicts)
			}
			a.sync()
			wantSame(t, a, b, "ana/data")
			for _, h := range []*home{a, b} {
				if all := h.history("ana/data"); !all[va] || !all[vb] {
					t.Error("a version is not in the history")
				}
				h.sound()
			}
			got := a.files("ana/data")
			if tt.want != nil && !maps.Equal(got, tt.want) {
				t.Errorf("merged to %q, want %q", got, tt.want)
			}
			for _, c := range tt.contents {
				if !hasContent(got, c) {
					t.Errorf("%q is in no file of %q", c, got)
				}
			}
			v, err := a.repo.Resolve(t.Context(), "ana/data")
			must(t, err)
			if !l.Merged.IsZero() && v.Version.Message != "merge with what laptop did" {
				t.Errorf("message %q", v.Version.Message)
			}
		})
	}
}

func hasContent(files map[string]string, content string) bool {
	for _, c := range files {
		if c == content {
			return true
		}
	}
	return false
}

// TestLostPushAnswer cuts the connection after the server has moved the head:
// once, and then also the device ends.
func TestLostPushAnswer(t *testing.T) {
	for _, ends := range []bool{false, true} {
		t.Run(fmt.Sprintf("device ends %v", ends), func(t *testing.T) {
			w := newWorld(t)
			a, b := w.pair()
			v := a.commit("ana/data", layers.Data, map[string]string{"f": large(9, 100_000)})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			lost := w.lose("/push", 1)
			if ends {
				go func() {
					<-lost
					cancel()
				}()
			}
			rep, err := a.dev.Sync(ctx)
			if l := reported(t, rep, "ana/data"); ends != (err != nil) || ends != (l.Error != "") {
				t.Errorf("error %v, report %+v", err, l)
			}
			if l := reported(t, a.sync(), "ana/data"); l.Found != syncer.Equal || l.Moved.Chunks != 0 {
				t.Errorf("after the cut: %+v", l)
			}
			b.sync()
			wantSame(t, a, b, "ana/data")
			if all := b.history("ana/data"); len(all) != 1 || !all[v] {
				t.Errorf("history %v, want just %v", all, v)
			}
		})
	}
}

// TestCaptureDuringSync moves the local head while the sync looks at it, and
// again while it pushes.
func TestCaptureDuringSync(t *testing.T) {
	w := newWorld(t)
	a, b := w.pair()
	a.commit("ana/data", layers.Data, map[string]string{"a": large(1, 50_000)})
	a.sync()
	b.commit("ana/data", layers.Data, map[string]string{"b": "0"})
	captured := map[string]store.ID{}
	w.hook(func(r *http.Request) error {
		at := path.Base(r.URL.Path)
		if _, done := captured[at]; done || at != "history" && at != "push" {
			return nil
		}
		id, err := b.tryCommit(context.Background(), "ana/data", layers.Data, map[string]string{"b": at})
		captured[at] = id
		return err
	})
	b.sync()
	w.hook(nil)
	if len(captured) != 2 {
		t.Fatalf("captures %v", captured)
	}
	wantFiles(t, b, "ana/data", map[string]string{"a": large(1, 50_000), "b": "push"})
	all := b.history("ana/data")
	for at, id := range captured {
		if !all[id] {
			t.Errorf("the capture during %s was lost", at)
		}
	}
	b.sync()
	a.sync()
	wantSame(t, a, b, "ana/data")
}

// TestRace has two devices sync again and again at the same time.
func TestRace(t *testing.T) {
	w := newWorld(t)
	a, b := w.pair()
	homes := []*home{a, b}
	made := make([][]store.ID, len(homes))
	errs := make(chan error, len(homes))
	for i, h := range homes {
		go func() {
			errs <- func() error {
				for n := range 6 {
					id, err := h.tryCommit(t.Context(), "ana/data", layers.Data, map[string]string{fmt.Sprintf("%d-%d", i, n): "x"})
					if err != nil {
						return err
					}
					made[i] = append(made[i], id)
					if _, err := h.dev.Sync(t.Context()); err != nil {
						return err
					}
				}
				return nil
			}()
		}()
	}
	must(t, errors.Join(<-errs, <-errs))
	a.sync()
	b.sync()
	a.sync()
	wantSame(t, a, b, "ana/data")
	if n := len(a.files("ana/data")); n != 12 {
		t.Errorf("%d files, want 12", n)
	}
	all := a.history("ana/data")
	for _, ids := range made {
		for _, id := range ids {
			if !all[id] {
				t.Errorf("version %s is lost", id.Short())
			}
		}
	}
	a.sound()
}

func TestReadOnlyLayerChangedHere(t *testing.T) {
	for _, moved := range []bool{false, true} {
		t.Run(fmt.Sprintf("server moved %v", moved), func(t *testing.T) {
			w := newWorld(t)
			pub := w.withOS()
			a := w.enrolled("ana", "laptop")
			a.bringOS(w)
			a.workspace("ana", "debian-12")
			a.sync()
			mine := a.commit("debian-12", layers.OS, map[string]string{"etc/hack": "mine"})
			if moved {
				pub.commit("debian-12", layers.OS, map[string]string{"etc/os-release": "Debian 12.1"})
				pub.sync()
			}
			wantNote(t, a.sync(), "debian-12+mine")
			wantSame(t, a, pub, "debian-12")
			if got := a.files("debian-12+mine")["etc/hack"]; got != "mine" {
				t.Errorf("kept %q", got)
			}
			if !a.history("debian-12+mine")[mine] {
				t.Error("the version made here is lost")
			}
			a.sound()
			if rep := a.sync(); len(rep.Notes) > 0 || reported(t, rep, "debian-12").Note != "" {
				t.Errorf("second sync notes %+v", rep)
			}
		})
	}
}

// TestServerRestored sets the server back to an older copy of its directory.
func TestServerRestored(t *testing.T) {
	w := newWorld(t)
	a, b := w.pair()
	a.commit("ana/data", layers.Data, map[string]string{"f": "1"})
	a.sync()
	w.stop()
	copied := filepath.Join(memoryDir(t), "copy")
	must(t, os.CopyFS(copied, os.DirFS(w.dir)))
	w.start()
	a.commit("ana/data", layers.Data, map[string]string{"f": "2"})
	a.sync()
	v := a.commit("ana/data", layers.Data, map[string]string{"f": large(5, 90_000)})
	a.sync()
	w.stop()
	must(t, os.RemoveAll(w.dir))
	must(t, os.Rename(copied, w.dir))
	w.start()
	if l := reported(t, a.sync(), "ana/data"); l.Found != syncer.Ahead || l.Pushed != v {
		t.Errorf("report %+v", l)
	}
	b.sync()
	wantSame(t, a, b, "ana/data")
}

// TestServerLostWhatOthersMade: this device has only the records of what the
// server lost, so it can neither send it nor claim that all is well.
func TestServerLostWhatOthersMade(t *testing.T) {
	w := newWorld(t)
	a, b := w.pair()
	a.commit("ana/data", layers.Data, map[string]string{"f": "1"})
	a.sync()
	w.stop()
	copied := filepath.Join(memoryDir(t), "copy")
	must(t, os.CopyFS(copied, os.DirFS(w.dir)))
	w.start()
	a.commit("ana/data", layers.Data, map[string]string{"f": "2"})
	a.commit("ana/data", layers.Data, map[string]string{"f": "3"})
	a.sync()
	b.sync() // gets 3, and the records of 1 and 2
	w.stop()
	must(t, os.RemoveAll(w.dir))
	must(t, os.Rename(copied, w.dir))
	w.start()
	if _, err := b.dev.Sync(t.Context()); !errors.Is(err, repo.ErrPartial) || !strings.Contains(err.Error(), "laptop") {
		t.Errorf("error %v, want one that names the device", err)
	}
	a.sync()
	b.sync()
	wantSame(t, a, b, "ana/data")
}

func TestRevoked(t *testing.T) {
	w := newWorld(t)
	a, _ := w.pair()
	a.commit("ana/data", layers.Data, map[string]string{"f": "1"})
	w.do("POST", "devices/laptop/revoke", nil, nil)
	if _, err := a.dev.Sync(t.Context()); !errors.Is(err, syncer.ErrRevoked) {
		t.Errorf("sync: %v", err)
	}
	wantFiles(t, a, "ana/data", map[string]string{"f": "1"})
	err := a.dev.Run(t.Context(), func(Report, error) {})
	if !errors.Is(err, syncer.ErrRevoked) || !strings.Contains(err.Error(), "administrator") {
		t.Errorf("agent: %v", err)
	}
}

// TestRevokedInBetween revokes the device while it pushes: what was done here
// stays, and the report says why each layer failed.
func TestRevokedInBetween(t *testing.T) {
	w := newWorld(t)
	a, _ := w.pair()
	v := a.commit("ana/data", layers.Data, map[string]string{"f": large(2, 100_000)})
	w.hook(func(r *http.Request) error {
		if !strings.HasSuffix(r.URL.Path, "/push") {
			return nil
		}
		return w.admin.Do(context.Background(), "POST", "devices/laptop/revoke", nil, nil)
	})
	rep, err := a.dev.Sync(t.Context())
	if !errors.Is(err, syncer.ErrRevoked) || reported(t, rep, "ana/data").Error == "" {
		t.Errorf("error %v, report %+v", err, rep)
	}
	if a.head("ana/data").Version != v {
		t.Error("the head moved")
	}
}

// TestNothingToDo measures a sync without changes: one request, few bytes.
func TestNothingToDo(t *testing.T) {
	w := newWorld(t)
	a, _ := w.pair()
	for i := range 6 {
		name := fmt.Sprintf("album-%d", i)
		a.layer(name, layers.Data, map[string]string{"f": name})
		_, err := a.dev.Publish(t.Context(), name)
		must(t, err)
	}
	a.sync()
	a.close()
	a.open() // a new connection, with its handshake
	w.counted()
	rep := a.sync()
	if len(rep.Layers) < 10 {
		t.Errorf("%d layers", len(rep.Layers))
	}
	if got := w.counted(); len(got) != 1 || got[0] != "GET /v1/state" {
		t.Errorf("requests %v", got)
	}
	if rep.Traffic.Up == 0 || rep.Traffic.Up > 20_000 || rep.Traffic.Down == 0 || rep.Traffic.Down > 20_000 {
		t.Errorf("traffic %+v", rep.Traffic)
	}
	t.Logf("sent %d, received %d bytes", rep.Traffic.Up, rep.Traffic.Down)
}

// TestMemoLost removes and damages what is only remembered.
func TestMemoLost(t *testing.T) {
	w := newWorld(t)
	a, b := w.pair()
	path := filepath.Join(b.dir, memoFile)
	for i, spoil := range []func() error{
		func() error { return os.Remove(path) },
		func() error { return os.WriteFile(path, []byte("{"), 0o600) },
		func() error { return os.WriteFile(path, []byte(`{"format":"satchel sync","version":99}`), 0o600) },
	} {
		a.commit("ana/data", layers.Data, map[string]string{fmt.Sprintf("a%d", i): "x"})
		b.commit("ana/data", layers.Data, map[string]string{fmt.Sprintf("b%d", i): "x"})
		a.sync()
		must(t, spoil())
		if rep := b.sync(); len(rep.Notes) > 0 || len(rep.Workspaces) > 0 {
			t.Errorf("report %+v", rep)
		}
		a.sync()
		wantSame(t, a, b, "ana/data")
		if n := len(a.files("ana/data")); n != 2*(i+1) {
			t.Errorf("%d files", n)
		}
	}
}

// TestOneLayerFails has one layer fail; the others must be synced all the same.
func TestOneLayerFails(t *testing.T) {
	w := newWorld(t)
	a, b := w.pair()
	for _, kind := range []layers.Kind{layers.Data, layers.System} {
		a.commit("ana/"+string(kind), kind, map[string]string{"f": string(kind)})
	}
	bad := "/" + a.head("ana/system").Layer.String() + "/push"
	w.hook(func(r *http.Request) error {
		if strings.HasSuffix(r.URL.Path, bad) {
			return syncer.ErrManifest
		}
		return nil
	})
	rep, err := a.dev.Sync(t.Context())
	w.hook(nil)
	if !errors.Is(err, syncer.ErrManifest) || reported(t, rep, "ana/system").Error == "" || reported(t, rep, "ana/data").Pushed.IsZero() {
		t.Errorf("error %v, report %+v", err, rep)
	}
	a.sync()
	b.sync()
	wantSame(t, a, b, "ana/system")
	wantSame(t, a, b, "ana/data")
}

func TestFetchOlderVersion(t *testing.T) {
	w := newWorld(t)
	a, b := w.pair()
	old := a.commit("ana/data", layers.Data, map[string]string{"f": large(7, 150_000)})
	a.commit("ana/data", layers.Data, map[string]string{"f": "short"})
	a.sync()
	b.sync()
	ref := "ana/data@" + old.String()
	if _, err := b.repo.Tree(t.Context(), ref); !errors.Is(err, repo.ErrPartial) {
		t.Errorf("before: %v", err)
	}
	for range 2 {
		must(t, second(b.dev.Fetch(t.Context(), "ana/data", old.Short())))
	}
	wantFiles(t, b, ref, map[string]string{"f": large(7, 150_000)})
	b.sound()
	wantFiles(t, b, ref, map[string]string{"f": large(7, 150_000)}) // gc keeps it
	if _, err := b.dev.Fetch(t.Context(), "ana/data", strings.Repeat("f", 12)); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("unknown version: %v", err)
	}
}

func TestPublishRefusals(t *testing.T) {
	w := newWorld(t)
	a := w.enrolled("ana", "laptop")
	a.layer("my-os", layers.OS, map[string]string{"f": "x"})
	a.layer("mine/local", layers.Local, map[string]string{"f": "x"})
	for _, name := range []string{"my-os", "mine/local"} {
		if _, err := a.dev.Publish(t.Context(), name); !errors.Is(err, syncer.ErrForbidden) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := a.dev.Publish(t.Context(), "none"); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("unknown: %v", err)
	}
}

// TestCertificates renews a certificate, and tells of one that is out of date.
func TestCertificates(t *testing.T) {
	w := newWorld(t)
	w.restart(5 * time.Minute) // most of its life is before now, for clocks that are wrong
	a := w.enrolled("ana", "laptop")
	before := a.dev.membership().Certificate
	a.sync()
	after, err := loadMembership(a.dir)
	must(t, err)
	if bytes.Equal(before, after.Certificate) || !bytes.Equal(after.Certificate, a.dev.membership().Certificate) {
		t.Error("the certificate was not renewed")
	}
	a.sync() // with the new one
	w.hook(func(r *http.Request) error {
		if strings.HasSuffix(r.URL.Path, "/renew") {
			return syncer.ErrUnavailable
		}
		return nil
	})
	wantNote(t, a.sync(), "renew the certificate")
	w.hook(nil)

	w.restart(-5 * time.Minute)
	b := w.enrolled("ana", "desk")
	if _, err := b.dev.Sync(t.Context()); !errors.Is(err, syncer.ErrExpired) {
		t.Errorf("expired: %v", err)
	}
	err = b.dev.Run(t.Context(), func(Report, error) {})
	if !errors.Is(err, syncer.ErrExpired) || !strings.Contains(err.Error(), "satchel enrol "+w.url()) {
		t.Errorf("agent: %v", err)
	}
	w.restart(0)
	b.enrol(w.enrolOptions("ana", "desk"))
	b.sync()
}
