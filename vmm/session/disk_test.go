package session

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"satchel/layers"
	"satchel/layers/ingest"
	"satchel/layers/manifest"
	"satchel/layers/repo"
	"satchel/layers/workspace"
	"satchel/store"
	"satchel/vmm/overlay"
)

const testDisk = 24 << 20 // bytes

// noise returns bytes that are the same for the same seed.
func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(seed, 5))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// diskHouse is a house whose os layer is a disk with noise in its middle.
func diskHouse(t *testing.T) (h *house, data []byte) {
	h = newHouse(t)
	must(t, h.Store.Heads().Remove(t.Context(), h.lookup("os").Layer, h.head("os")))
	head, err := h.Repo.Create(t.Context(), "box")
	must(t, err)
	must(t, h.Workspaces.Update("ana", func(d *workspace.Definition) error {
		d.OS = workspace.Layer{ID: head.Layer, Name: "box"}
		return nil
	}))
	data = make([]byte, testDisk)
	copy(data[4<<20:], noise(1, 12<<20))
	h.commitDisk(head, data)
	return h, data
}

func (h *house) lookup(layer string) store.Head {
	h.t.Helper()
	head, err := h.Store.Heads().Lookup(h.t.Context(), layer)
	must(h.t, err)
	return head
}

// commitDisk makes a version of an os layer that is the disk.
func (h *house) commitDisk(head store.Head, data []byte) store.ID {
	h.t.Helper()
	w, err := h.Store.Begin(h.t.Context(), "test")
	must(h.t, err)
	defer w.Close()
	tree := layers.Tree{{Path: layers.DiskPath, Type: layers.Regular}}
	pl := ingest.New(h.t.Context(), w, h.Store.Domain())
	pl.AddDisk(&tree[0], func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
	must(h.t, pl.Wait())
	ids, err := h.Repo.Commit(h.t.Context(), w, repo.Commit{Head: head, Kind: layers.OS, Form: layers.Disk, Tree: tree})
	must(h.t, err)
	return ids[0]
}

// guest does what a session does around a guest that writes, and then dies.
func (h *house) guest(write func(*overlay.Disk)) {
	h.t.Helper()
	def, err := h.Workspaces.Load("ana")
	must(h.t, err)
	versions, err := h.current(h.t.Context(), def)
	must(h.t, err)
	d, err := h.diskOf(h.t.Context(), versions)
	must(h.t, err)
	lower, _, err := h.openDisk(h.t.Context(), d)
	must(h.t, err)
	self, err := workspace.Self()
	must(h.t, err)
	file := h.overlay("ana")
	must(h.t, h.Workspaces.SaveSession("ana", workspace.Session{
		Started: time.Now(), State: workspace.Running, Process: self, Delta: file, Composed: versions,
	}))
	must(h.t, overlay.Create(file, overlay.Base{Version: d.below.Version, Size: lower.Size()}))
	top, err := overlay.Open(file, lower, d.below.Version)
	must(h.t, err)
	write(top)
	must(h.t, top.Close())
}

// disk reads what the workspace's next session starts from.
func (h *house) nextDisk() []byte {
	h.t.Helper()
	def, err := h.Workspaces.Load("ana")
	must(h.t, err)
	versions, err := h.current(h.t.Context(), def)
	must(h.t, err)
	d, err := h.diskOf(h.t.Context(), versions)
	must(h.t, err)
	lower, _, err := h.openDisk(h.t.Context(), d)
	must(h.t, err)
	b := make([]byte, lower.Size())
	_, err = lower.ReadAt(b, 0)
	must(h.t, err)
	return b
}

func put(t *testing.T, data []byte, off int64, b []byte) func(*overlay.Disk) {
	copy(data[off:], b)
	return func(d *overlay.Disk) {
		_, err := d.WriteAt(b, off)
		must(t, err)
	}
}

// TestDiskLoop: what a guest wrote is the system layer's new version, sessions
// build on each other, and a reset brings the os layer's disk back.
func TestDiskLoop(t *testing.T) {
	h, data := diskHouse(t)
	original := bytes.Clone(data)
	os := h.head("box")
	for i, off := range []int64{5<<20 + 100, 20 << 20, 0} {
		b := noise(uint64(i+2), 1<<20)
		h.guest(put(t, data, off, b))
		got, err := h.Settle(t.Context(), "ana", nil)
		must(t, err)
		if len(got.Layers) != 1 || got.Layers[0].Kind != layers.System || got.WrittenBytes < 1<<20 || got.ReadBytes > 2*got.WrittenBytes {
			t.Errorf("captured %+v", got)
		}
		if !bytes.Equal(h.nextDisk(), data) {
			t.Fatal("the next session has another disk")
		}
		v, err := manifest.ReadVersion(t.Context(), h.Store, h.head("s"))
		if err != nil || v.Form != layers.Disk || v.On != os {
			t.Errorf("version %+v, error %v", v, err)
		}
	}
	// The os layer moves on: the workspace stays where it is.
	h.commitDisk(h.lookup("box"), noise(9, testDisk))
	if !bytes.Equal(h.nextDisk(), data) {
		t.Fatal("the disk went along with the os layer")
	}
	_, err := h.Repo.Rollback(t.Context(), "box", os.String())
	must(t, err)
	reset, err := h.Reset(t.Context(), "ana", nil)
	if err != nil || len(reset) != 1 || reset[0].Kind != layers.System {
		t.Errorf("reset %+v, error %v", reset, err)
	}
	if !bytes.Equal(h.nextDisk(), original) {
		t.Error("after a reset the disk is not the os layer's")
	}
}

func TestDiskThatWasNotWrittenIsNotCaptured(t *testing.T) {
	h, data := diskHouse(t)
	for name, write := range map[string]func(*overlay.Disk){
		"nothing":  func(*overlay.Disk) {},
		"the same": func(d *overlay.Disk) { must(t, second(d.WriteAt(data[5<<20:6<<20], 5<<20))) },
		"trimmed":  func(d *overlay.Disk) { must(t, d.Trim(17<<20, 7<<20)) },
	} {
		h.guest(write)
		got, err := h.Settle(t.Context(), "ana", nil)
		if err != nil || got == nil || len(got.Layers) != 0 {
			t.Errorf("%s: captured %+v, error %v", name, got, err)
		}
		if _, err := h.Workspaces.LoadSession("ana"); err == nil {
			t.Errorf("%s: the record is still there", name)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// TestDiskIsCapturedOnce: a crash between the heads and the removal of the
// overlay has it captured again, which finds nothing new.
func TestDiskIsCapturedOnce(t *testing.T) {
	h, data := diskHouse(t)
	h.guest(put(t, data, 6<<20, noise(3, 5000)))
	rec, err := h.Workspaces.LoadSession("ana")
	must(t, err)
	_, err = h.captureDisk(t.Context(), "ana", &rec)
	must(t, err)
	head := h.head("s")
	got, err := h.Settle(t.Context(), "ana", nil)
	if err != nil || len(got.Layers) != 0 || h.head("s") != head {
		t.Errorf("captured %+v again, error %v", got, err)
	}
	if !bytes.Equal(h.nextDisk(), data) {
		t.Error("another disk")
	}
}

// TestDiskWhoseHeadMoved: the session's disk is the newest; the other one stays
// in the history.
func TestDiskWhoseHeadMoved(t *testing.T) {
	h, data := diskHouse(t)
	h.guest(put(t, bytes.Clone(data), 8<<20, noise(4, 4096)))
	_, err := h.Settle(t.Context(), "ana", nil)
	must(t, err)
	first := h.head("s")
	h.guest(put(t, data, 7<<20, noise(5, 4096)))
	other, err := h.Reset(t.Context(), "nobody", nil)
	if err == nil {
		t.Fatal("reset of no workspace", other)
	}
	w, err := h.Store.Begin(t.Context(), "test")
	must(t, err)
	ids, err := h.Repo.Commit(t.Context(), w, repo.Commit{Head: h.lookup("s"), Kind: layers.System, Message: "from elsewhere"})
	must(t, err)
	must(t, w.Close())
	got, err := h.Settle(t.Context(), "ana", nil)
	if err != nil || len(got.Notes) != 1 || !strings.Contains(got.Notes[0], "cannot be merged") {
		t.Fatalf("captured %+v, error %v", got, err)
	}
	v, err := manifest.ReadVersion(t.Context(), h.Store, h.head("s"))
	if err != nil || len(v.Parents) != 2 || v.Parents[0] != ids[0] || v.Parents[1] != first {
		t.Errorf("parents %v, error %v", v.Parents, err)
	}
}

func TestFilesDoNotLieOnDisks(t *testing.T) {
	h, _ := diskHouse(t)
	stub(t)
	h.commit("d", layers.Data, map[string]string{"home/ana/file": "x"})
	_, _, err := h.Start(t.Context(), "ana", Options{})
	if err == nil || !strings.Contains(err.Error(), "files are inside the disk") {
		t.Errorf("start: error %v", err)
	}
	if _, err := h.Explain(t.Context(), "ana", "etc"); err == nil {
		t.Error("explained a path of a disk")
	}
}

func TestDiskOptionsOfFiles(t *testing.T) {
	h := newHouse(t)
	if _, _, err := h.Start(t.Context(), "ana", Options{Firmware: "uefi"}); err == nil || !strings.Contains(err.Error(), "made of files") {
		t.Errorf("error %v", err)
	}
}

// TestSuspendedDiskIsKeptWhole: nothing captures from the overlay of a suspended
// guest, until its memory is given up.
func TestSuspendedDiskIsKeptWhole(t *testing.T) {
	h, data := diskHouse(t)
	h.guest(put(t, data, 6<<20, noise(3, 5000)))
	seal, err := overlay.Seal(h.overlay("ana"))
	must(t, err)
	rec, err := h.Workspaces.LoadSession("ana")
	must(t, err)
	hash := strings.Repeat("1", 64)
	rec.State, rec.Suspension = workspace.Suspended, &workspace.Suspension{
		Processor: hash, Machine: hash, Image: hash, Overlay: seal, Memory: workspace.Saved{Size: 1}, Devices: workspace.Saved{Size: 1},
	}
	must(t, h.Workspaces.SaveSession("ana", rec))
	must(t, os.WriteFile(h.Workspaces.MemoryFile("ana"), []byte{1}, 0o600))
	for what, do := range map[string]func() error{
		"capture": func() error { return second(h.Settle(t.Context(), "ana", nil)) },
		"reset":   func() error { return second(h.Reset(t.Context(), "ana", nil)) },
	} {
		if err := do(); !errors.Is(err, workspace.ErrSuspended) || !errors.Is(err, ErrNoAgent) || !strings.Contains(err.Error(), "satchel run ana") {
			t.Errorf("%s: error %v", what, err)
		}
	}
	if now, err := overlay.Seal(h.overlay("ana")); err != nil || now != seal || !h.head("s").IsZero() {
		t.Errorf("the overlay has changed, or was captured; error %v", err)
	}
	got, err := h.Drop(t.Context(), "ana")
	if err != nil || len(got.Layers) != 1 || !bytes.Equal(h.nextDisk(), data) {
		t.Errorf("given up: captured %+v, error %v", got, err)
	}
	if left := h.left(); len(left) > 0 {
		t.Errorf("it has left %q", left)
	}
}
