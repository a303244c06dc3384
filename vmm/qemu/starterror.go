package qemu

import (
	"errors"
	"os/exec"
	"strings"
)

// A StartError reports a machine that could not be started.
type StartError struct {
	Message string // QEMU's own, may be empty
	Hint    string // what to do about it, may be empty
	Err     error  // what Satchel saw
}

// Error gives QEMU's own words where there are any, and the hint.
func (e *StartError) Error() string {
	text := "start qemu: "
	if e.Message != "" {
		text += e.Message
	} else {
		text += e.Err.Error()
	}
	if e.Hint != "" {
		text += " (" + e.Hint + ")"
	}
	return text
}

// Unwrap returns what Satchel saw.
func (e *StartError) Unwrap() error { return e.Err }

// hints tells, for a part of a message in lower case, what helps. The first
// that matches counts.
var hints = []struct{ part, hint string }{
	{"cannot allocate memory", "give the machine less memory with --memory"},
	{"cannot set up guest memory", "give the machine less memory with --memory"},
	{"could not access kvm", "your user needs access to /dev/kvm, on Debian as a member of group kvm"},
	{"failed to initialize kvm", "this computer's KVM does not work for it; use the tcg accelerator"},
	{`get "write" lock`, "another QEMU has this disk open; stop it first"},
	{"address already in use", "another machine listens at the same socket; stop it first"},
	{"gtk initialization failed", "there is no desktop to show a window on; use --display vnc or none"},
	{"does not accept value 'gtk'", "install package qemu-system-gui, or use --display vnc or none"},
	{"qemu-system-gui", "install package qemu-system-gui, or use --display vnc or none"},
	{"is not a valid device model", "install package qemu-system-gui, which holds QEMU's further devices, or QEMU 7.2 or later"},
	{"could not load pc bios", "install package seabios"},
	{"seccomp", "this QEMU was built without its sandbox; install the distribution's own QEMU 7.2 or later"},
}

func newStartError(binary string, err error, stderr string) *StartError {
	e := &StartError{Message: message(stderr), Err: err}
	if errors.Is(err, exec.ErrNotFound) || (stderr == "" && strings.Contains(err.Error(), "no such file")) {
		e.Hint = "install QEMU, on Debian package qemu-system-x86, or correct the path " + binary
		return e
	}
	low := strings.ToLower(e.Message + " " + err.Error())
	for _, h := range hints {
		if strings.Contains(low, h.part) {
			e.Hint = h.hint
			break
		}
	}
	return e
}

// message picks the lines of a transcript that say what went wrong: not the
// warnings, unless there is nothing else.
func message(stderr string) string {
	var said, warned []string
	for line := range strings.Lines(stderr) {
		line = strings.TrimSpace(line)
		_, text, ok := strings.Cut(line, "qemu-system-x86_64: ")
		if !ok {
			text = line
		}
		switch {
		case text == "":
		case strings.HasPrefix(text, "warning:"):
			warned = append(warned, text)
		default:
			said = append(said, text)
		}
	}
	if len(said) == 0 {
		said = warned
	}
	return strings.Join(said, "; ")
}
