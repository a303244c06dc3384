package device

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"satchel/layers"
	"satchel/layers/workspace"
	"satchel/store"
	"satchel/store/disk"
	"satchel/syncer"
)

func TestEnrolEmptyHome(t *testing.T) {
	w := newWorld(t)
	dir := filepath.Join(memoryDir(t), "home") // not even a directory
	conf, err := Enrol(t.Context(), dir, w.enrolOptions("ana", "Ana's laptop"))
	must(t, err)
	if conf.Device != "Ana-s-laptop" || conf.User != "ana" || conf.URL != w.url() || conf.Server != w.made.Server || conf.Enrolled.IsZero() {
		t.Errorf("enrolled as %+v", conf)
	}
	if got, err := Load(dir); err != nil || got != conf {
		t.Errorf("loaded %+v, %v; want %+v", got, err, conf)
	}
	wantFilesOf(t, dir, "device.json", "device.key", "store")
	info, err := os.Stat(filepath.Join(dir, keyFile))
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the key is %v", info.Mode())
	}
	st, err := disk.Open(filepath.Join(dir, storeDir))
	must(t, err)
	must(t, st.Close())
}

// wantFilesOf checks what a home holds, locks aside.
func wantFilesOf(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	var got []string
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".lock") {
			got = append(got, e.Name())
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("home holds %v, want %v", got, want)
	}
}

// usedHome returns a home that was used without a server.
func usedHome(t *testing.T) *home {
	h := newHome(t, "old")
	h.layer("debian-12", layers.OS, map[string]string{"etc/os-release": "Debian 12"})
	h.workspace("work", "debian-12")
	h.commit("work/data", layers.Data, map[string]string{"a": "first", "big": large(3, 400_000)})
	h.commit("work/data", layers.Data, map[string]string{"a": "second"})
	return h
}

func wantUsed(t *testing.T, h *home) {
	t.Helper()
	wantFiles(t, h, "work/data", map[string]string{"a": "second", "big": large(3, 400_000)})
	if n := len(h.history("work/data")); n != 2 {
		t.Errorf("%d versions, want 2", n)
	}
	def, err := h.set.Load("work")
	must(t, err)
	if def.Data.ID != h.head("work/data").Layer {
		t.Error("the workspace lost its layer")
	}
	h.sound()
}

func TestEnrolCarriesLayersOver(t *testing.T) {
	w := newWorld(t)
	h := usedHome(t)
	before := h.st.Domain()
	var done, total int64
	opt := w.enrolOptions("ana", "laptop")
	opt.Progress = func(d, n int64) { done, total = d, n }
	h.enrol(opt)
	if h.st.Domain() == before {
		t.Error("the store is in its old domain")
	}
	if done == 0 || done != total {
		t.Errorf("progress ended at %d of %d", done, total)
	}
	wantUsed(t, h)
	wantFilesOf(t, h.dir, "device.json", "device.key", "store", "workspaces")
}

func TestEnrolAgainRenewsTheCertificate(t *testing.T) {
	w := newWorld(t)
	h := w.enrolled("ana", "laptop")
	h.layer("mine", layers.Data, map[string]string{"a": "1"})
	key, err := os.ReadFile(filepath.Join(h.dir, keyFile))
	must(t, err)
	before := h.dev.membership().Certificate
	h.enrol(w.enrolOptions("ana", "laptop"))
	after, err := os.ReadFile(filepath.Join(h.dir, keyFile))
	must(t, err)
	if string(key) != string(after) || string(before) == string(h.dev.membership().Certificate) {
		t.Error("want the old key and a new certificate")
	}
	wantFiles(t, h, "mine", map[string]string{"a": "1"})
	h.sync()
}

func TestEnrolRefusals(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	h := w.enrolled("ana", "laptop")
	opt := func(change func(*EnrolOptions)) EnrolOptions {
		o := w.enrolOptions("ana", "x")
		change(&o)
		return o
	}
	tests := []struct {
		name string
		dir  string
		opt  EnrolOptions
		want error
	}{
		{"token", memoryDir(t), opt(func(o *EnrolOptions) { o.Token = "wrong" }), syncer.ErrToken},
		{"fingerprint", memoryDir(t), opt(func(o *EnrolOptions) { o.Fingerprint = other.made.Fingerprint }), nil},
		{"other server", h.dir, other.enrolOptions("ana", "x"), ErrEnrolled},
	}
	for _, tt := range tests {
		_, err := Enrol(t.Context(), tt.dir, tt.opt)
		if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		if _, err := Load(tt.dir); tt.dir != h.dir && !errors.Is(err, ErrNotEnrolled) {
			t.Errorf("%s: loaded with %v", tt.name, err)
		}
	}
	h.sync() // the refused enrolment harmed nothing
}

func TestEnrolRefusesWhileInUse(t *testing.T) {
	w := newWorld(t)
	opt := w.enrolOptions("ana", "laptop") // one token for all: none of the refusals may use it up
	h := usedHome(t)
	busy := func(name, advice string) {
		t.Helper()
		_, err := Enrol(t.Context(), h.dir, opt)
		if !errors.Is(err, store.ErrBusy) || !strings.Contains(err.Error(), advice) {
			t.Errorf("%s: %v, want %v and %q", name, err, store.ErrBusy, advice)
		}
	}
	unlock, err := h.set.Lock("work")
	must(t, err)
	busy("session", "satchel stop work")
	must(t, h.set.SaveSession("work", workspace.Session{State: workspace.Running}))
	must(t, unlock())
	busy("record", "satchel capture work")
	must(t, h.set.ClearSession("work"))
	must(t, os.WriteFile(h.set.Delta("work"), nil, 0o600))
	busy("delta disk", "satchel capture work")
	must(t, os.Remove(h.set.Delta("work")))
	unlock, err = tryLock(filepath.Join(h.dir, agentLock))
	must(t, err)
	busy("agent", "satchel agent")
	must(t, unlock())
	writer, err := h.st.Begin(t.Context(), "test")
	must(t, err)
	_, err = Enrol(t.Context(), h.dir, opt)
	if !errors.Is(err, store.ErrBusy) {
		t.Errorf("writer: %v", err)
	}
	must(t, writer.Close())
	h.enrol(opt)
	wantUsed(t, h)
}

var errCrash = errors.New("crash")

// TestEnrolSurvivesCrashes ends an enrolment before each of its steps in turn.
// What is left must be a whole home, and the same call must finish.
func TestEnrolSurvivesCrashes(t *testing.T) {
	w := newWorld(t)
	for n := 0; ; n++ {
		h := usedHome(t)
		h.close()
		opt := w.enrolOptions("ana", "laptop")
		steps, last := 0, ""
		opt.fault = func(step string) error {
			if steps++; steps > n {
				last = step
				return errCrash
			}
			return nil
		}
		_, err := Enrol(t.Context(), h.dir, opt)
		if err == nil {
			if n < 8 {
				t.Errorf("only %d steps", n)
			}
			return
		}
		if !errors.Is(err, errCrash) {
			t.Fatalf("before step %d: %v", n, err)
		}
		t.Run(fmt.Sprintf("%d %s", n, last), func(t *testing.T) {
			h := &home{t: t, dir: h.dir}
			h.st, err = disk.Open(filepath.Join(h.dir, storeDir))
			must(t, err)
			_, enrolled := Load(h.dir)
			h.plain()
			wantUsed(t, h)
			if enrolled == nil {
				h.close()
				h.open() // goes by itself
				h.sync()
				wantUsed(t, h)
			}
			opt.fault = nil
			if last == "key journal" || last == "answer journal" {
				opt.Token = w.token("ana") // the server may have used it up
			}
			if enrolled != nil {
				h.enrol(opt)
				wantUsed(t, h)
			}
			h.close()
			if _, err := os.Stat(filepath.Join(h.dir, newStoreDir)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the old store is still there: %v", err)
			}
		})
	}
}

// TestEnrolAfterLostAnswer loses the server's answer: the same token must do.
func TestEnrolAfterLostAnswer(t *testing.T) {
	w := newWorld(t)
	dir := memoryDir(t)
	opt := w.enrolOptions("ana", "laptop")
	w.lose("/enrol", 100)
	if _, err := Enrol(t.Context(), dir, opt); err == nil {
		t.Fatal("enrolled without an answer")
	}
	w.lose("", 0)
	conf, err := Enrol(t.Context(), dir, opt)
	must(t, err)
	if conf.Device != "laptop" {
		t.Errorf("enrolled as %s", conf.Device)
	}
}
