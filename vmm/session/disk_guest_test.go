package session

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"satchel/layers"
	"satchel/layers/diskimage"
	"satchel/layers/ingest"
	"satchel/layers/repo"
	"satchel/layers/workspace"
)

// TestInstalledSystem boots a disk of 8 GiB with an installed Debian by UEFI,
// has it write and sync, cuts its power, and finds what it wrote at the next
// start. A reset brings the first state back.
func TestInstalledSystem(t *testing.T) {
	image := filepath.Join(os.Getenv("SATCHEL_TEST_GUESTS"), "disk.raw")
	if _, err := os.Stat(image); os.Getenv("SATCHEL_TEST_GUESTS") == "" || err != nil {
		t.Skip("needs SATCHEL_TEST_GUESTS, and a disk there (make guests)")
	}
	h := newHouse(t)
	h.importDisk("debian-disk", image)
	for start := range 2 {
		s, _, err := h.Start(t.Context(), "ana", Options{Memory: 768 << 20})
		must(t, err)
		if st, err := s.Ready(t.Context()); err != nil || !st.Disk || st.Boot.Kernel != "uefi" {
			t.Fatalf("status %+v, error %v", st, err)
		}
		s.awaitConsole(t, []string{"disk guest: 0 earlier starts", "disk guest: 1 earlier starts"}[start], "disk guest: written")
		var end End
		if start == 0 {
			end, err = s.Stop(t.Context(), true) // no guest is asked, no disk is synced
		} else {
			end, err = s.Stop(t.Context(), false)
		}
		must(t, err)
		if how := []string{"killed", "acpi"}[start]; end.How != how {
			t.Errorf("ended by %s, want %s", end.How, how)
		}
		got := end.Captured
		if got == nil || len(got.Layers) != 1 || got.WrittenBytes < 16<<20 || got.ReadBytes > 2*got.WrittenBytes {
			t.Fatalf("captured %+v", got)
		}
		t.Logf("start %d: written %d bytes, read %d to capture, %.2f s", start, got.WrittenBytes, got.ReadBytes, got.Seconds)
	}
	reset, err := h.Reset(t.Context(), "ana", nil)
	if err != nil || len(reset) != 1 || reset[0].Kind != layers.System {
		t.Errorf("reset %+v, error %v", reset, err)
	}
}

// bootSector writes itself to the second sector of the first hard disk, by the
// BIOS, prints B on the first serial port, and halts.
var bootSector = []byte{
	0x31, 0xc0, 0x8e, 0xc0, 0x8e, 0xd8, // xor ax,ax; mov es,ax; mov ds,ax
	0xb8, 0x01, 0x03, 0xbb, 0x00, 0x7c, // mov ax,0x301; mov bx,0x7c00
	0xb9, 0x02, 0x00, 0xba, 0x80, 0x00, // mov cx,2; mov dx,0x80
	0xcd, 0x13, // int 0x13
	0xba, 0xf8, 0x03, 0xb0, 'B', 0xee, // mov dx,0x3f8; mov al,'B'; out dx,al
	0xf4, 0xeb, 0xfd, // hlt; jmp to it
}

// TestBIOSDisk boots a disk by BIOS on each bus, and captures what it wrote.
func TestBIOSDisk(t *testing.T) {
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil || testing.Short() {
		t.Skip("needs qemu-system-x86_64")
	}
	for _, bus := range []string{"virtio", "sata"} {
		t.Run(bus, func(t *testing.T) {
			h, data := diskHouse(t)
			copy(data, bootSector)
			data[510], data[511] = 0x55, 0xaa
			h.commitDisk(h.lookup("box"), data)
			s, _, err := h.Start(t.Context(), "ana", Options{Memory: 64 << 20, DiskBus: bus})
			must(t, err)
			s.awaitConsole(t, "B")
			if st := s.Status(); st.Boot.Kernel != "bios" || !st.Ready {
				t.Errorf("status %+v", st)
			}
			if _, err := s.Capture(t.Context()); !errors.Is(err, ErrNoAgent) {
				t.Errorf("capture while it runs: error %v", err)
			}
			end, err := s.Stop(t.Context(), true)
			must(t, err)
			if end.Captured == nil || len(end.Captured.Layers) != 1 || end.Captured.WrittenBytes != 4096 {
				t.Errorf("captured %+v", end.Captured)
			}
			copy(data[512:1024], data[:512])
			if !bytes.Equal(h.nextDisk(), data) {
				t.Error("the next session has another disk")
			}
		})
	}
}

// importDisk makes an image the os layer of ana.
func (h *house) importDisk(name, file string) {
	h.t.Helper()
	head, err := h.Repo.Create(h.t.Context(), name)
	must(h.t, err)
	w, err := h.Store.Begin(h.t.Context(), "test")
	must(h.t, err)
	defer w.Close()
	tree, err := diskimage.Import(h.t.Context(), file, diskimage.Raw, h.t.TempDir(), ingest.New(h.t.Context(), w, h.Store.Domain()))
	must(h.t, err)
	_, err = h.Repo.Commit(h.t.Context(), w, repo.Commit{Head: head, Kind: layers.OS, Form: layers.Disk, Tree: tree})
	must(h.t, err)
	must(h.t, h.Workspaces.Update("ana", func(d *workspace.Definition) error {
		d.OS = workspace.Layer{ID: head.Layer, Name: name}
		return nil
	}))
}

// awaitConsole waits until the guest has printed all of these.
func (s *Session) awaitConsole(t *testing.T, words ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	for {
		b, err := os.ReadFile(s.consoleLog())
		must(t, err)
		found := true
		for _, w := range words { // one behind the other
			var ok bool
			_, b, ok = bytes.Cut(b, []byte(w))
			found = found && ok
		}
		if found {
			return
		}
		select {
		case <-s.machine.Exited():
			t.Fatalf("the guest ended; its last words: %s", s.lastWords())
		case <-ctx.Done():
			t.Fatalf("no %q on the console: %s", strings.Join(words, ", "), s.lastWords())
		case <-time.After(200 * time.Millisecond):
		}
	}
}
