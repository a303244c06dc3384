package workspace

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"satchel/store"
)

// suspended is the record of a session whose machine is on disk.
func suspended() Session {
	rec := session()
	rec.State = Suspended
	rec.Suspension = &Suspension{
		At: time.Date(2026, 1, 2, 4, 0, 0, 0, time.UTC), QEMU: "7.2.22 Debian 1:7.2+dfsg-7+deb12u18",
		Processor: strings.Repeat("1", 64), Machine: strings.Repeat("2", 64), Image: strings.Repeat("3", 64),
		Memory:  Saved{Size: 768 << 20, Pages: 36879, CRC: 0xDEADBEEF},
		Devices: Saved{Size: 795075, CRC: 0x1234},
		Stored:  store.ID{0xC}, Ready: true,
		Options: Machine{Memory: 768 << 20, CPUs: 2, Display: "none", Network: "user"},
	}
	return rec
}

// suspendedDisk is that of one whose guest brings its own system.
func suspendedDisk() Session {
	rec := suspended()
	rec.Delta = strings.Replace(rec.Delta, "delta", "overlay", 1)
	rec.Suspension.Overlay = strings.Repeat("4", 64)
	rec.Suspension.Options.Firmware, rec.Suspension.Options.DiskBus = "uefi", "sata"
	return rec
}

func TestSuspendedRecord(t *testing.T) {
	s := created(t, "ana")
	want := suspended()
	must(t, s.SaveSession("ana", want))
	got, err := s.LoadSession("ana")
	must(t, err)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if err := s.Remove("ana"); !errors.Is(err, ErrSuspended) {
		t.Errorf("remove: %v, want %v", err, ErrSuspended)
	}
	if err := s.Rename("ana", "ben"); !errors.Is(err, ErrSuspended) {
		t.Errorf("rename: %v, want %v", err, ErrSuspended)
	}
	must(t, s.Discard("ana"))
}

func TestImpossibleSuspensions(t *testing.T) {
	s := created(t, "ana")
	for name, spoil := range map[string]func(*Session){
		"none":           func(rec *Session) { rec.Suspension = nil },
		"while it runs":  func(rec *Session) { rec.State = Running },
		"no image":       func(rec *Session) { rec.Suspension.Image = "" },
		"a path":         func(rec *Session) { rec.Suspension.Machine = strings.Repeat("../", 22)[:64] },
		"no memory":      func(rec *Session) { rec.Suspension.Memory.Size = 0 },
		"endless memory": func(rec *Session) { rec.Suspension.Memory.Size = 1 << 62 },
		"no seal":        func(rec *Session) { rec.Suspension.Overlay = "4" },
		"no devices":     func(rec *Session) { rec.Suspension.Devices.Size = -1 },
	} {
		rec := suspended()
		spoil(&rec)
		if err := s.SaveSession("ana", rec); err == nil {
			t.Errorf("%s: it was saved", name)
		}
	}
	good, err := os.ReadFile(filepath.Join("testdata", "session2.json"))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(s.Dir("ana"), sessionFile), []byte(strings.Replace(string(good), `"suspended"`, `"running"`, 1)), 0o600))
	if _, err := s.LoadSession("ana"); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("load: %v, want %v", err, store.ErrCorrupt)
	}
}

// TestOlderSessions reads records from before machines were suspended, and from
// before those with a disk were.
func TestOlderSessions(t *testing.T) {
	s := created(t, "ana")
	for file, want := range map[string]Session{"session.json": session(), "session2.json": suspended()} {
		old, err := os.ReadFile(filepath.Join("testdata", file))
		must(t, err)
		must(t, os.WriteFile(filepath.Join(s.Dir("ana"), sessionFile), old, 0o600))
		got, err := s.LoadSession("ana")
		must(t, err)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", file, diff)
		}
	}
}

func TestRoots(t *testing.T) {
	s := created(t, "ana", "ben", "eve")
	must(t, s.SaveSession("ana", suspended()))
	must(t, s.SaveSession("ben", session()))
	got, err := s.Roots()
	must(t, err)
	if want := []store.ID{{0xA}, {0xC}, {0xA}}; !slices.Equal(got, want) {
		t.Errorf("roots %v, want %v", got, want)
	}
	rec := session()
	rec.Captured = []Pin{{Kind: "data", Version: store.ID{0xD}}, {Kind: "data"}}
	must(t, s.SaveSession("ben", rec))
	got, err = s.Foundations()
	must(t, err)
	if want := []store.ID{{0xA}, {0xC}, {0xB}, {0xA}, {0xD}}; !slices.Equal(got, want) {
		t.Errorf("foundations %v, want %v", got, want)
	}
	must(t, os.WriteFile(filepath.Join(s.Dir("eve"), sessionFile), []byte("{}"), 0o600))
	if _, err := s.Foundations(); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("with a damaged record: %v, want %v", err, store.ErrCorrupt)
	}
	if _, err := s.Roots(); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("with a damaged record: %v, want %v", err, store.ErrCorrupt)
	}
}

func TestClearMachine(t *testing.T) {
	s := created(t, "ana")
	must(t, s.ClearMachine("ana"))
	for _, file := range []string{s.MemoryFile("ana"), s.DevicesFile("ana")} {
		must(t, os.WriteFile(file, nil, 0o600))
	}
	must(t, s.ClearMachine("ana"))
	for _, file := range []string{s.MemoryFile("ana"), s.DevicesFile("ana")} {
		if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", file, err)
		}
	}
}
