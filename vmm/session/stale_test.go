package session

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"satchel/layers"
	"satchel/layers/erofs"
	"satchel/layers/workspace"
	"satchel/store"
	"satchel/vmm/memory"
	"satchel/vmm/qemu"
)

// asleep leaves what a suspended session does: its disk, its record, and a
// machine that no QEMU was ever asked for.
func (h *house) asleep() workspace.Session {
	t := h.t
	t.Helper()
	rec := h.leave(h.disk(work))
	m, err := memory.New(64 << 20)
	must(t, err)
	defer m.Close()
	sum, err := memory.Save(t.Context(), m, h.Workspaces.MemoryFile("ana"))
	must(t, err)
	must(t, os.WriteFile(h.Workspaces.DevicesFile("ana"), []byte("devices"), 0o600))
	processor, err := qemu.Processor()
	must(t, err)
	def, err := h.Workspaces.Load("ana")
	must(t, err)
	s, err := h.load(t.Context(), def, rec.Composed)
	must(t, err)
	image, err := erofs.New(s.whole.Tree, s.whole, erofs.Options{})
	must(t, err)
	rec.State = workspace.Suspended
	rec.Suspension = &workspace.Suspension{
		At: time.Now().UTC(), QEMU: "7.2.22", Processor: processor, Machine: strings.Repeat("0", 64), Image: hashImage(image, s.whole.Tree),
		Memory: workspace.Saved(sum), Devices: workspace.Saved{Size: 7},
		Options: workspace.Machine{Memory: 64 << 20, CPUs: 1, Display: "none", Network: "none"},
	}
	must(t, h.Workspaces.SaveSession("ana", rec))
	return rec
}

// A suspended machine that does not fit any more is given up, with the reason;
// what is on its disk goes into the layers.
func TestStale(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(*house, *workspace.Session)
		why   string
	}{
		{"layer moved", func(h *house, _ *workspace.Session) {
			h.commit("d", layers.Data, map[string]string{"home/ana/elsewhere": "x"})
		}, "layer d has moved"},
		{"other os", func(h *house, _ *workspace.Session) {
			h.commit("os", layers.OS, map[string]string{"etc/hostname": "newer\n"})
		}, "layer os has moved"},
		{"other layer", func(h *house, _ *workspace.Session) {
			head, err := h.Repo.Create(h.t.Context(), "d2")
			must(h.t, err)
			must(h.t, h.Workspaces.Update("ana", func(d *workspace.Definition) error {
				d.Data = workspace.Layer{ID: head.Layer, Name: "d2"}
				return nil
			}))
		}, "layer d2 in place of d"},
		{"more layers", func(h *house, _ *workspace.Session) {
			head, err := h.Repo.Create(h.t.Context(), "g")
			must(h.t, err)
			must(h.t, h.Workspaces.Update("ana", func(d *workspace.Definition) error {
				d.Groups = []workspace.Layer{{ID: head.Layer, Name: "g"}}
				return nil
			}))
		}, "other layers"},
		{"processor", func(_ *house, rec *workspace.Session) { rec.Suspension.Processor = strings.Repeat("a", 64) }, "processor"},
		{"image", func(_ *house, rec *workspace.Session) { rec.Suspension.Image = strings.Repeat("a", 64) }, "another image"},
		{"memory damaged", func(_ *house, rec *workspace.Session) { rec.Suspension.Memory.CRC++ }, "checksum"},
		{"memory gone", func(h *house, _ *workspace.Session) { must(h.t, os.Remove(h.Workspaces.MemoryFile("ana"))) }, "no such file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t)
			stub(t)
			rec := h.asleep()
			tt.spoil(h, &rec)
			must(t, h.Workspaces.SaveSession("ana", rec))
			var said []string
			h.Note = func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }
			// This os layer has no kernel, so the new start fails in the end.
			if s, _, err := h.Start(t.Context(), "ana", Options{}); s != nil || err == nil {
				t.Fatalf("it started: %v", err)
			}
			if text := strings.Join(said, "\n"); !strings.Contains(text, tt.why) {
				t.Errorf("it was said: %s\nwant %q", text, tt.why)
			}
			if _, err := h.Workspaces.LoadSession("ana"); !errors.Is(err, store.ErrNotExist) {
				t.Errorf("the record: %v, want none", err)
			}
			for _, left := range h.left() {
				if strings.HasPrefix(left, "suspended") || strings.HasPrefix(left, "delta") {
					t.Errorf("it left %s", left)
				}
			}
			for path, content := range work {
				if strings.HasPrefix(path, "home/") {
					h.reads("d", path, content)
				}
			}
		})
	}
}

// A start that fails for a reason that may pass keeps the suspended machine.
func TestSuspendedStaysWhenStartFails(t *testing.T) {
	h := newHouse(t)
	t.Setenv("SATCHEL_GUEST", "/nonexistent")
	h.asleep()
	want, err := h.Workspaces.LoadSession("ana")
	must(t, err)
	if s, _, err := h.Start(t.Context(), "ana", Options{}); s != nil || err == nil {
		t.Fatalf("it started: %v", err)
	}
	got, err := h.Workspaces.LoadSession("ana")
	if err != nil || got.State != workspace.Suspended || *got.Suspension != *want.Suspension {
		t.Errorf("the record is %+v, %v", got, err)
	}
	if _, err := memory.Load(t.Context(), h.Workspaces.MemoryFile("ana"), memory.Sum(want.Suspension.Memory)); err != nil {
		t.Error(err)
	}
}

func TestHeadsOfItsOwn(t *testing.T) {
	h := newHouse(t)
	rec := h.asleep()
	def, err := h.Workspaces.Load("ana")
	must(t, err)
	must(t, h.unmoved(t.Context(), def, &rec, Options{}))
	id := h.commit("d", layers.Data, map[string]string{"home/ana/own": "x"})
	if err := h.unmoved(t.Context(), def, &rec, Options{}); err == nil {
		t.Error("a head that others moved passes")
	}
	rec.Captured = append(rec.Captured, workspace.Pin{Kind: layers.Data, Layer: def.Data.ID, Name: "d", Version: id})
	must(t, h.unmoved(t.Context(), def, &rec, Options{}))
}

// A guest goes on with its own versions where a start would choose them, whatever
// the heads are.
func TestGoesOnWithChosenVersions(t *testing.T) {
	h := newHouse(t)
	h.well()
	rec := h.asleep()
	def, err := h.Workspaces.Load("ana")
	must(t, err)
	before, err := h.Workspaces.LoadHealth("ana")
	must(t, err)
	var gone *stale
	wantStale := func(what string, opt Options) {
		t.Helper()
		if err := h.unmoved(t.Context(), def, &rec, opt); !errors.As(err, &gone) {
			t.Errorf("%s: %v, want that it is stale", what, err)
		}
	}
	two := h.commit("os", layers.OS, map[string]string{"etc/hostname": "two\n"})
	wantStale("another os", Options{})

	later := func(at time.Time) {
		must(t, h.Workspaces.UpdateHealth("ana", func(rec *workspace.Health) error { rec.Later = at; return nil }))
	}
	later(time.Now().Add(time.Hour))
	must(t, h.unmoved(t.Context(), def, &rec, Options{}))
	later(time.Time{})

	os := before.Good[0]
	os.Version = two
	must(t, h.Workspaces.UpdateHealth("ana", func(rec *workspace.Health) error {
		rec.Failed = []workspace.Failure{{Pin: os, Time: time.Now(), Reason: "it does not come up"}}
		return nil
	}))
	must(t, h.unmoved(t.Context(), def, &rec, Options{}))
	wantStale("told to retry", Options{RetryFailed: true})
	after, err := h.Workspaces.LoadHealth("ana")
	must(t, err)
	if len(after.Failed) != 1 || after.Trial != nil {
		t.Errorf("a look at the versions changed the record: %+v", after)
	}
}

// A guest on trial is not suspended: its verdict would be lost.
func TestSuspendWaitsForTheVerdict(t *testing.T) {
	h := newHouse(t)
	if _, onTrial := h.planned(Options{}); !onTrial {
		t.Fatal("a first start is no trial")
	}
	s := h.newSession("ana", func() error { return nil })
	s.rec = &workspace.Session{}
	if _, err := s.Suspend(t.Context()); !errors.Is(err, ErrOnTrial) {
		t.Errorf("suspend: %v, want %v", err, ErrOnTrial)
	}
	h.verdict("")
	must(t, s.judged())
}

func TestDrop(t *testing.T) {
	h := newHouse(t)
	if got, err := h.Drop(t.Context(), "ana"); got != nil || err != nil {
		t.Errorf("drop of nothing: %v, %v", got, err)
	}
	h.asleep()
	if _, err := h.Settle(t.Context(), "ana", nil); !errors.Is(err, workspace.ErrSuspended) {
		t.Errorf("settle: %v, want %v", err, workspace.ErrSuspended)
	}
	got, err := h.Drop(t.Context(), "ana")
	must(t, err)
	if got == nil || len(got.Layers) == 0 || len(h.left()) > 0 {
		t.Errorf("drop captured %v and left %q", got, h.left())
	}
}

// A machine in the store is the same machine, gc keeps it as long as the record
// names it, and damage to it is found.
func TestStoredMachine(t *testing.T) {
	h := newHouse(t)
	h.asleep()
	files := []string{h.Workspaces.MemoryFile("ana"), h.Workspaces.DevicesFile("ana")}
	m, err := os.OpenFile(files[0], os.O_RDWR, 0)
	must(t, err)
	_, err = m.WriteAt([]byte(strings.Repeat("a page", 5000)), 20<<20)
	must(t, errors.Join(err, m.Close()))
	want := map[string][]byte{}
	for _, file := range files {
		want[file], err = os.ReadFile(file)
		must(t, err)
	}
	got, err := h.Put(t.Context(), "ana")
	must(t, err)
	if got.Bytes == 0 || got.Bytes > 1<<20 {
		t.Errorf("%d bytes are stored: holes among them", got.Bytes)
	}
	for _, file := range files {
		if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there: %v", file, err)
		}
	}
	again, err := h.Put(t.Context(), "ana")
	if err != nil || again.Version != got.Version {
		t.Errorf("stored again: %+v, %v", again, err)
	}
	_, err = h.Store.GC(t.Context(), h.Repo.Walker(), h.Workspaces.Roots)
	must(t, err)
	must(t, h.fetchMachine(t.Context(), "ana", got.Version))
	for file, content := range want {
		if is, err := os.ReadFile(file); err != nil || !bytes.Equal(is, content) {
			t.Errorf("%s is another file now, %v", file, err)
		}
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", file, info, err)
		}
	}
	_, err = h.Drop(t.Context(), "ana")
	must(t, err)
	_, err = h.Store.GC(t.Context(), h.Repo.Walker(), h.Workspaces.Roots)
	must(t, err)
	w, err := h.Store.Begin(t.Context(), "test")
	must(t, err)
	defer w.Close()
	if has, err := w.Has(t.Context(), []store.ID{got.Version}); err != nil || has[0] {
		t.Errorf("what nothing names any more is still there: %v, %v", has, err)
	}
	if _, err := h.Put(t.Context(), "ana"); err == nil {
		t.Error("what is not suspended was stored")
	}
}
