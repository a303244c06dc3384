package session

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"satchel/layers"
	"satchel/layers/workspace"
	"satchel/vmm/overlay"
	"satchel/vmm/session/scribble"
)

// TestDiskSuspended suspends a guest that writes to its disk all the time, and
// has it go on: as the same run, over the disk that it left. Whatever has become
// of disk or layers meanwhile, it never goes on over another one, and what it had
// flushed is captured.
func TestDiskSuspended(t *testing.T) {
	h := newHouse(t)
	h.Note = t.Logf
	h.importDisk("scribbler", scribbleDisk(t))
	s := h.scribbles(t, false)
	h.failsToSuspend(t, s)
	got := h.suspends(t, s)
	if got.Captured != nil || h.head("s") != [32]byte{} {
		t.Errorf("suspended %+v, and there is a version", got)
	}
	h.stays(t)

	_, err := h.Put(t.Context(), "ana")
	must(t, err)
	h.suspends(t, h.scribbles(t, true))

	h.killedSuspension(t, "recorded")
	s = h.scribbles(t, true)
	h.suspends(t, s)
	h.killedSuspension(t, "memory")
	may := mayHold{}
	h.settlesTo(t, may)

	// From here on what was flushed is in the system layer.
	for what, change := range map[string]func(){
		"written to since it was suspended": func() { h.meddle(t) },
		"layer scribbler has moved":         func() { h.commitDisk(h.lookup("scribbler"), noise(1, 1<<20)) },
	} {
		h.suspends(t, h.scribbles(t, false))
		change()
		h.startsAnew(t, what, may)
	}
}

// scribbles starts the guest, and waits until it has written and flushed on, as
// the run that it was if it is to be resumed.
func (h *house) scribbles(t *testing.T, resumed bool) *Session {
	t.Helper()
	run, n := h.lastFlush(t)
	if !resumed {
		must(t, os.WriteFile(h.consoleOf("ana"), nil, 0o600))
		n = 0
	}
	s, _, err := h.Start(t.Context(), "ana", scribbler)
	must(t, err)
	t.Cleanup(func() { s.Stop(context.Background(), true) }) //nolint:errcheck // mostly it has ended
	if s.Status().Boot.Resumed != resumed {
		t.Fatalf("resumed: %v, want %v", s.Status().Boot.Resumed, resumed)
	}
	_, err = s.Up(t.Context()) // what is on trial cannot be suspended
	must(t, err)
	h.awaitFlush(t, n+5*scribble.Flush)
	if now, m := h.lastFlush(t); resumed && now != run {
		t.Fatalf("it is run %d at %d, and was run %d at %d", now, m, run, n)
	}
	return s
}

func (h *house) suspends(t *testing.T, s *Session) Suspended {
	t.Helper()
	got, err := s.Suspend(t.Context())
	must(t, err)
	end, err := s.Wait(t.Context())
	if err != nil || end.How != string(workspace.Suspended) || end.Captured != nil {
		t.Fatalf("ended %+v, error %v", end, err)
	}
	t.Logf("suspended after %.2f s, %d MB of memory, %d MB of devices", got.Seconds, got.MemoryBytes>>20, got.DeviceBytes>>20)
	return got
}

// failsToSuspend has a suspension fail in its midst: the guest writes on.
func (h *house) failsToSuspend(t *testing.T, s *Session) {
	t.Helper()
	h.step = func(name string) {
		if name == "devices" { // then the memory finds its place taken
			must(t, os.WriteFile(h.Workspaces.MemoryFile("ana"), nil, 0o600))
		}
	}
	defer func() { h.step = nil }()
	if _, err := s.Suspend(t.Context()); !errors.Is(err, os.ErrExist) {
		t.Errorf("suspend: %v, want %v", err, os.ErrExist)
	}
	_, n := h.lastFlush(t)
	h.awaitFlush(t, n+5*scribble.Flush)
}

// stays checks that nothing but a start touches a suspended guest.
func (h *house) stays(t *testing.T) {
	t.Helper()
	before, err := overlay.Seal(h.overlay("ana"))
	must(t, err)
	if _, err := h.Settle(t.Context(), "ana", nil); !errors.Is(err, workspace.ErrSuspended) {
		t.Errorf("settle: %v, want %v", err, workspace.ErrSuspended)
	}
	if _, err := h.Reset(t.Context(), "ana", nil); !errors.Is(err, workspace.ErrSuspended) {
		t.Errorf("reset: %v, want %v", err, workspace.ErrSuspended)
	}
	rec, err := h.Workspaces.LoadSession("ana")
	must(t, err)
	if after, err := overlay.Seal(h.overlay("ana")); err != nil || after != before || rec.Suspension.Overlay != before {
		t.Errorf("the overlay has changed, error %v", err)
	}
}

// killedSuspension kills the supervisor of the suspended guest at a step of its
// next suspension.
func (h *house) killedSuspension(t *testing.T, step string) {
	t.Helper()
	cmd := h.scribblerProcess(step)
	out, _ := cmd.CombinedOutput()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		t.Fatalf("%s: %v\n%s", step, cmd.ProcessState, out)
	}
	rec, err := h.Workspaces.LoadSession("ana")
	if err != nil || (rec.State == workspace.Suspended) != (step == "recorded") {
		t.Fatalf("killed at %s: state %s, %v", step, rec.State, err)
	}
}

// settlesTo captures what a session left, and compares it with what was flushed.
func (h *house) settlesTo(t *testing.T, may mayHold) {
	t.Helper()
	got, err := h.Settle(t.Context(), "ana", nil)
	must(t, err)
	if got == nil || len(got.Layers) != 1 || got.Layers[0].Kind != layers.System {
		t.Fatalf("captured %+v", got)
	}
	for _, name := range h.left() {
		if strings.HasPrefix(name, "suspended") || strings.HasPrefix(name, overlayFile) {
			t.Errorf("%s is still there", name)
		}
	}
	run, n := h.lastFlush(t)
	may.write(run, n)
	h.compare(t, may)
}

// meddle writes what is there already over a suspended guest's disk.
func (h *house) meddle(t *testing.T) {
	t.Helper()
	rec, err := h.Workspaces.LoadSession("ana")
	must(t, err)
	d, err := h.diskOf(t.Context(), rec.Composed)
	must(t, err)
	lower, _, err := h.openDisk(t.Context(), d)
	must(t, err)
	top, err := overlay.Open(h.overlay("ana"), lower, d.below.Version)
	must(t, err)
	b := make([]byte, overlay.BlockSize)
	at := top.Dirty()[0].Off
	_, err = top.ReadAt(b, at)
	must(t, err)
	time.Sleep(20 * time.Millisecond) // a tick of the file system's clock
	_, err = top.WriteAt(b, at)
	must(t, errors.Join(err, top.Close()))
}

// startsAnew checks that the suspended guest does not go on, and why, and that
// what it had flushed was captured.
func (h *house) startsAnew(t *testing.T, why string, may mayHold) {
	t.Helper()
	run, n := h.lastFlush(t)
	var notes []string
	h.Note = func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	defer func() { h.Note = t.Logf }()
	s, got, err := h.Start(t.Context(), "ana", scribbler)
	must(t, err)
	if s.Status().Boot.Resumed || !strings.Contains(strings.Join(notes, "\n"), why) {
		t.Errorf("resumed: %v, and it was said: %q, want %q", s.Status().Boot.Resumed, notes, why)
	}
	if got == nil || len(got.Layers) != 1 {
		t.Errorf("captured %+v", got)
	}
	_, err = s.Stop(t.Context(), true)
	must(t, err)
	may.write(run, n)
	h.compare(t, may)
}
