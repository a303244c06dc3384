package session

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"satchel/layers"
	"satchel/layers/workspace"
)

var work = map[string]string{"home/ana/thesis": "one\n", "etc/motd": "hello\n"}

func TestCaptureWhatASessionLeft(t *testing.T) {
	h := newHouse(t)
	h.leave(h.disk(work))
	for _, litter := range []string{"delta.img.live", "delta.img.replayed", "delta.img.copying", "record.img", "record.img.creating"} {
		must(t, os.WriteFile(filepath.Join(h.Workspaces.Dir("ana"), litter), nil, 0o600))
	}
	if got := h.settled(); len(got.Layers) != 2 {
		t.Errorf("captured %q, want two layers", got.Summary())
	}
	h.reads("d", "home/ana/thesis", "one\n")
	h.reads("s", "etc/motd", "hello\n")
	if got := h.settled(); got != nil {
		t.Errorf("then there was more: %q", got.Summary())
	}
}

// Captures of one session lie on what the session began with, not on each
// other. What the guest takes back is not in its layers any more.
func TestCaptureAgain(t *testing.T) {
	h := newHouse(t)
	began := h.head("d")
	image := h.disk(work)
	rec := h.leave(image)
	def, err := h.Workspaces.Load("ana")
	must(t, err)
	s, err := h.load(t.Context(), def, rec.Composed)
	must(t, err)
	_, err = h.Host.commit(t.Context(), "ana", &rec, s, image)
	must(t, err)
	data, system := h.head("d"), h.head("s")
	if data == began {
		t.Fatal("nothing was captured")
	}
	again, err := h.Host.commit(t.Context(), "ana", &rec, s, image)
	must(t, err)
	if len(again.Layers) > 0 || h.head("d") != data {
		t.Errorf("captured again: %q", again.Summary())
	}
	// Another process captures what is left after a crash, with less in it.
	h.put(h.disk(map[string]string{"etc/motd": "hello\n"}))
	h.settled()
	h.reads("d", "home/ana/thesis", "")
	h.reads("s", "etc/motd", "hello\n")
	if h.head("s") != system {
		t.Errorf("layer s has a new version without a change")
	}
}

// The record names versions before heads do. A crash may come on either side.
func TestCaptureThatCrashed(t *testing.T) {
	for _, moved := range []bool{false, true} {
		h := newHouse(t)
		image := h.disk(work)
		rec := h.leave(image)
		def, err := h.Workspaces.Load("ana")
		must(t, err)
		s, err := h.load(t.Context(), def, rec.Composed)
		must(t, err)
		if moved {
			_, err = h.Host.commit(t.Context(), "ana", &rec, s, image)
			must(t, err)
		} else { // a version that never became a head
			rec.Captured = []workspace.Pin{{Kind: layers.Data, Layer: def.Data.ID, Name: "d", Version: h.head("os")}}
			must(t, h.Workspaces.SaveSession("ana", rec))
		}
		before := h.head("d")
		h.settled()
		if moved && h.head("d") != before {
			t.Error("the second capture made another version")
		}
		h.reads("d", "home/ana/thesis", "one\n")
	}
}

// A head that something else has moved keeps what that brought.
func TestCaptureOntoWhatOthersDid(t *testing.T) {
	h := newHouse(t)
	h.commit("d", layers.Data, map[string]string{"home/ana/old": "old\n", "home/ana/thesis": "none\n"})
	h.leave(h.disk(work))
	theirs := h.commit("d", layers.Data, map[string]string{"home/ana/new": "new\n", "home/ana/thesis": "theirs\n"})
	got := h.settled()
	h.reads("d", "home/ana/thesis", "one\n")
	h.reads("d", "home/ana/new", "new\n")
	h.reads("d", "home/ana/old", "")
	if notes := strings.Join(got.Notes, "\n"); !strings.Contains(notes, theirs.Short()) {
		t.Errorf("notes %q do not name the version %s that came in between", notes, theirs.Short())
	}
	if entry, err := h.Repo.Resolve(t.Context(), "d@"+theirs.String()); err != nil {
		t.Errorf("%v is gone: %v", entry, err)
	}
}

func TestCaptureDamagedDisk(t *testing.T) {
	tests := []struct {
		name, file string
		at         int64
	}{
		{"superblock", "", 1024},
		{"a directory", "upper", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t)
			image := h.disk(work)
			if tt.file == "" {
				f, err := os.OpenFile(image, os.O_RDWR, 0)
				must(t, err)
				_, err = f.WriteAt(make([]byte, 1024), tt.at)
				must(t, err)
				must(t, f.Close())
			} else { // an inode whose checksum is wrong
				tool(t, "debugfs", "-w", "-R", "set_inode_field "+tt.file+" checksum 4711", image)
			}
			var notes []string
			h.Note = func(format string, args ...any) { notes = append(notes, format) }
			h.leave(image)
			got := h.settled()
			h.reads("d", "home/ana/thesis", "one\n")
			if len(notes) == 0 {
				t.Errorf("nobody was told of the damage: %q", got.Notes)
			}
		})
	}
}

// A disk that is full stops a capture and costs nothing else.
func TestCaptureOnAFullDisk(t *testing.T) {
	home := filepath.Join(t.TempDir(), "home")
	small := filepath.Join(home, "store")
	must(t, os.MkdirAll(small, 0o700))
	smallDisk(t, small, 32)
	h := newHouseAt(t, home)
	noise := make([]byte, 2<<20)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	h.leave(h.disk(map[string]string{"home/ana/large": string(noise)}))
	before := h.head("d")
	var free unix.Statfs_t
	must(t, unix.Statfs(small, &free))
	ballast := filepath.Join(small, "ballast")
	must(t, os.WriteFile(ballast, make([]byte, free.Bfree*uint64(free.Bsize)-1<<20), 0o600))
	_, err := h.Settle(t.Context(), "ana", nil)
	for _, want := range []string{"no space", "still in " + h.Workspaces.Delta("ana"), "satchel capture ana"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Fatalf("error %v does not say %q", err, want)
		}
	}
	if h.head("d") != before {
		t.Error("the head has moved")
	}
	must(t, os.Remove(ballast))
	h.settled()
	h.reads("d", "home/ana/large", string(noise))
}

func TestCaptureInAMovedHome(t *testing.T) {
	h := newHouse(t)
	h.leave(h.disk(work))
	must(t, h.Store.Close())
	moved := h.Home + "-elsewhere"
	must(t, os.Rename(h.Home, moved))
	h.open(moved)
	h.settled()
	h.reads("d", "home/ana/thesis", "one\n")
}

// A session that wrote nothing needs nothing to be captured.
func TestCaptureOfNothing(t *testing.T) {
	h := newHouse(t)
	rec := h.leave(h.disk(nil))
	must(t, os.Remove(rec.Delta))
	if got := h.settled(); got == nil || len(got.Layers) > 0 {
		t.Errorf("captured %+v", got)
	}
}
