package qemu

import (
	"encoding/json"
	"fmt"
	"os"
	"syscall"

	"satchel/vmm/qemu/qmp"
)

// A Cause says why QEMU ended.
type Cause string

// The causes.
const (
	GuestShutdown Cause = "guest-shutdown" // the guest powered off
	GuestReset    Cause = "guest-reset"    // the guest asked to reboot; satchel starts it afresh
	GuestPanic    Cause = "guest-panic"    // the guest's kernel reported a panic
	HostQuit      Cause = "quit"           // [Process.Quit], or the display's window was closed
	HostSignal    Cause = "signal"         // somebody sent QEMU a signal that it obeyed
	Killed        Cause = "killed"         // [Process.Kill]
	Crashed       Cause = "crashed"        // none of these: Code, Signal and Stderr say more
)

// causes maps the reasons of QEMU's SHUTDOWN event, see ShutdownCause in
// https://www.qemu.org/docs/master/interop/qemu-qmp-ref.html.
var causes = map[string]Cause{
	"guest-shutdown":        GuestShutdown,
	"guest-reset":           GuestReset,
	"guest-panic":           GuestPanic,
	"host-qmp-quit":         HostQuit,
	"host-ui":               HostQuit,
	"host-signal":           HostSignal,
	"subsystem-reset":       GuestReset,
	"host-error":            Crashed,
	"host-qmp-system-reset": HostQuit,
}

// An Exit tells how QEMU ended.
type Exit struct {
	Cause  Cause          `json:"cause"`
	Reason string         `json:"reason,omitempty"` // in QEMU's words, where it gave one
	Code   int            `json:"code"`             // exit status, -1 after a signal
	Signal syscall.Signal `json:"signal,omitempty"`
	Stderr string         `json:"stderr,omitempty"` // the end of QEMU's messages, at most 64 KiB
}

// String says it in one line, for people.
func (e Exit) String() string {
	switch {
	case e.Cause != Crashed:
		return string(e.Cause)
	case e.Signal != 0:
		return fmt.Sprintf("crashed: %v", e.Signal)
	}
	return fmt.Sprintf("crashed: exit status %d", e.Code)
}

func newExit(state *os.ProcessState, reason string, killed bool, stderr string) Exit {
	e := Exit{Reason: reason, Code: state.ExitCode(), Stderr: stderr}
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		e.Signal = ws.Signal()
	}
	cause, known := causes[reason]
	switch {
	case killed && e.Signal == syscall.SIGKILL:
		e.Cause = Killed
	case e.Code != 0:
		e.Cause = Crashed
	case known:
		e.Cause = cause
	default:
		e.Cause = HostQuit
	}
	return e
}

// shutdownReason reads the data of a SHUTDOWN event.
func shutdownReason(e qmp.Event) string {
	var data struct {
		Reason string `json:"reason"`
	}
	if json.Unmarshal(e.Data, &data) != nil {
		return ""
	}
	return data.Reason
}
