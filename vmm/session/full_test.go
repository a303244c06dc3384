package session

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"satchel/store"
	"satchel/vmm/overlay"
)

// notes keeps what a person is told.
type notes struct {
	mu   sync.Mutex
	told []string
}

func (n *notes) note(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.told = append(n.told, fmt.Sprintf(format, args...))
}

// await waits until a person is told that.
func (n *notes) await(t *testing.T, what string) {
	t.Helper()
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		n.mu.Lock()
		all := strings.Join(n.told, "\n")
		n.mu.Unlock()
		if strings.Contains(all, what) {
			return
		}
		if time.Since(began) > guestTimeout {
			t.Fatalf("nobody says %q, but:\n%s", what, all)
		}
	}
}

// smallDisk mounts a disk of so many MiB at a directory.
func smallDisk(t *testing.T, dir string, mib int) {
	t.Helper()
	if err := unix.Mount("satchel", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", mib)); err != nil {
		t.Skip("cannot mount a small disk:", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) }) //nolint:errcheck // it is of no use any more
}

// fill leaves a disk that many bytes of room, and returns the file that takes the rest.
func fill(t *testing.T, dir string, room int64) string {
	t.Helper()
	var fs unix.Statfs_t
	must(t, unix.Statfs(dir, &fs))
	filler := filepath.Join(dir, "filler")
	f, err := os.Create(filler)
	must(t, err)
	defer f.Close()
	must(t, unix.Fallocate(int(f.Fd()), 0, 0, int64(fs.Bavail)*fs.Bsize-room))
	return filler
}

// TestFullHost has the host's disk full while a guest writes to its delta disk.
func TestFullHost(t *testing.T) {
	b := newBench(t)
	var said notes
	b.Note = said.note
	dir := b.Workspaces.Dir("ana")
	kept := t.TempDir()
	must(t, os.CopyFS(kept, os.DirFS(dir)))
	smallDisk(t, dir, 512)
	must(t, os.CopyFS(dir, os.DirFS(kept)))
	s := b.boot()
	filler := fill(t, dir, 32<<20)
	done := make(chan error, 1)
	go func() {
		out, err := b.try(s, "dd if=/dev/urandom of=/var/tmp/x bs=1M count=64 conv=fsync 2>&1 && sha256sum < /var/tmp/x > /var/tmp/sum", nil)
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		done <- err
	}()
	said.await(t, "the disk of this computer is full")
	if status, err := s.machine.Status(t.Context()); err != nil || status != "io-error" {
		t.Errorf("the machine is %s, %v", status, err)
	}
	if !s.stuck() {
		t.Error("a guest that has no room does not wait")
	}
	must(t, os.Remove(filler))
	said.await(t, "goes on after")
	must(t, <-done)
	if out := b.guest(s, "sha256sum < /var/tmp/x | cmp - /var/tmp/sum; dmesg | grep -i 'i/o error\\|remounting' || true"); out != "" {
		t.Errorf("the guest says %s", out)
	}
	if s.stuck() {
		t.Error("the guest goes on, and waits")
	}
	b.stop(s, true)
}

// zeroLower is a disk of zeros.
type zeroLower int64

func (z zeroLower) Size() int64                 { return int64(z) }
func (z zeroLower) Run(off int64) (int64, bool) { return int64(z) - off, true }
func (z zeroLower) ReadAt(p []byte, _ int64) (int, error) {
	clear(p)
	return len(p), nil
}

// TestPatientDisk has the host's disk full while a guest writes to its own.
func TestPatientDisk(t *testing.T) {
	dir := t.TempDir()
	smallDisk(t, dir, 16)
	var said notes
	h := newHouseAt(t, filepath.Join(t.TempDir(), "home"))
	h.Note = said.note
	data := filepath.Join(dir, "disk")
	must(t, overlay.Create(data, overlay.Base{Size: 64 << 20}))
	top, err := overlay.Open(data, zeroLower(64<<20), store.ID{})
	must(t, err)
	defer top.Close()
	d := &patientDisk{top, &h.newSession("ana", nil).full, make(chan struct{})}
	filler := fill(t, dir, 1<<20)
	block := bytes.Repeat([]byte("full"), 1<<20)
	done := make(chan error, 1)
	write := func(off int64) {
		_, err := d.WriteAt(block, off)
		done <- err
	}
	go write(0)
	said.await(t, "the disk of this computer is full")
	must(t, os.Remove(filler))
	must(t, <-done)
	said.await(t, "goes on after")
	got := make([]byte, len(block))
	if _, err := d.ReadAt(got, 0); err != nil || !bytes.Equal(got, block) {
		t.Errorf("what waited reads as something else, %v", err)
	}
	fill(t, dir, 1<<20)
	go write(int64(len(block)))
	select {
	case err := <-done:
		t.Errorf("a write on a full disk ends with %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	must(t, d.close())
	if err := <-done; !errors.Is(err, unix.ENOSPC) {
		t.Errorf("a write that nobody waits for ends with %v", err)
	}
}
