package device

import (
	"bytes"
	"io"
	"testing"

	"satchel/layers"
	"satchel/layers/ingest"
	"satchel/layers/manifest"
	"satchel/layers/repo"
	"satchel/store"
	"satchel/syncer"
)

// commitDisk makes a version of a system layer that is a disk of noise.
func (h *home) commitDisk(name string, seed int, on store.ID) store.ID {
	h.t.Helper()
	ctx := h.t.Context()
	w, err := h.st.Begin(ctx, "test")
	must(h.t, err)
	tree := layers.Tree{{Path: layers.DiskPath, Type: layers.Regular, Mode: 0o600}}
	pl := ingest.New(ctx, w, h.st.Domain())
	data := []byte(large(seed, 100*4096))
	data = data[:len(data)/layers.SectorSize*layers.SectorSize]
	pl.AddDisk(&tree[0], func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
	must(h.t, pl.Wait())
	ids, err := h.repo.Commit(ctx, w, repo.Commit{Head: h.head(name), Kind: layers.System, Form: layers.Disk, On: on, Tree: tree, Message: "test"})
	must(h.t, err)
	must(h.t, w.Close())
	return ids[0]
}

// TestDisksOnTwoDevices: disks travel like all else, and of two that were
// written on two devices the newer one is taken, by both.
func TestDisksOnTwoDevices(t *testing.T) {
	w := newWorld(t)
	a, b := w.pair()
	on := a.head("debian-12").Version
	first := a.commitDisk("ana/system", 1, on)
	a.sync()
	b.sync()
	if b.head("ana/system").Version != first {
		t.Fatal("the disk did not come along")
	}
	va := a.commitDisk("ana/system", 2, on)
	vb := b.commitDisk("ana/system", 3, on)
	a.sync()
	l := reported(t, b.sync(), "ana/system")
	if l.Found != syncer.Diverged || l.Merged.IsZero() || len(l.Conflicts) != 1 {
		t.Errorf("report %+v", l)
	}
	a.sync()
	wantSame(t, a, b, "ana/system")
	merged, err := manifest.ReadVersion(t.Context(), a.st, a.head("ana/system").Version)
	must(t, err)
	newer, err := manifest.ReadVersion(t.Context(), b.st, vb)
	must(t, err)
	if merged.Form != layers.Disk || merged.On != on || merged.Tree != newer.Tree {
		t.Errorf("merged to %+v", merged)
	}
	for _, h := range []*home{a, b} {
		if all := h.history("ana/system"); !all[va] || !all[vb] {
			t.Error("a disk is not in the history")
		}
		h.sound()
	}
	// A reset on one device, and a session on the other.
	w2, err := a.st.Begin(t.Context(), "test")
	must(t, err)
	_, err = a.repo.Commit(t.Context(), w2, repo.Commit{Head: a.head("ana/system"), Kind: layers.System, Message: "reset"})
	must(t, err)
	must(t, w2.Close())
	b.commitDisk("ana/system", 4, on)
	a.sync()
	b.sync()
	a.sync()
	wantSame(t, a, b, "ana/system")
}
