package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Protocol is the version of the messages that this build speaks.
const Protocol = 1

// A Hello starts a session.
type Hello struct {
	Protocol int    `json:"protocol"`
	Nonce    string `json:"nonce"` // up to 64 bytes, new for each session
}

// A Welcome answers a hello.
type Welcome struct {
	Protocol int    `json:"protocol"`
	Nonce    string `json:"nonce"` // the hello's
	Info     Info   `json:"info"`
}

// Info describes a guest.
type Info struct {
	Kernel   string        `json:"kernel"`    // release: "6.1.0-50-cloud-amd64"
	Hostname string        `json:"hostname"`  //
	OS       string        `json:"os"`        // PRETTY_NAME of os-release
	Uptime   time.Duration `json:"uptime_ns"` // since the guest's kernel started
}

// An Op is what a request asks for.
type Op string

// The operations of the protocol.
const (
	OpInfo     Op = "info"     // describe the guest
	OpPing     Op = "ping"     // answer
	OpReady    Op = "ready"    // answer when the guest has finished starting
	OpExec     Op = "exec"     // run a command
	OpFreeze   Op = "freeze"   // make the delta disk consistent and stop writing to it
	OpThaw     Op = "thaw"     // end a freeze
	OpSync     Op = "sync"     // write everything to the disks
	OpClock    Op = "clock"    // set the guest's clock
	OpPoweroff Op = "poweroff" // shut down in good order
	OpReboot   Op = "reboot"   // shut down in good order and start again
)

// A Request opens a stream.
type Request struct {
	Op   Op            `json:"op"`
	Max  time.Duration `json:"max_ns,omitempty"`  // freeze: thaw by itself after this
	Time int64         `json:"time_ns,omitempty"` // clock: nanoseconds since 1970 in UTC
	Exec *Command      `json:"exec,omitempty"`
}

// A Command is a process to run in the guest.
type Command struct {
	Argv []string `json:"argv"`           // the first is looked for in PATH
	Env  []string `json:"env,omitempty"`  // KEY=value, added to the guest's default
	Dir  string   `json:"dir,omitempty"`  // "": the user's home
	User string   `json:"user,omitempty"` // "": root
	TTY  *Size    `json:"tty,omitempty"`  // nil: no terminal
}

// Size is a terminal's size in characters.
type Size struct {
	Rows uint16 `json:"rows"`
	Cols uint16 `json:"cols"`
}

// A Reply ends a stream.
type Reply struct {
	Error string `json:"error,omitempty"` // "": done
	Code  int    `json:"code,omitempty"`  // exec: exit code, 128+n for signal n
	Info  *Info  `json:"info,omitempty"`  // info
}

// Exit codes of commands that could not be started, as shells use them.
const (
	CodeNotStarted    = 125
	CodeNotExecutable = 126
	CodeNotFound      = 127
)

// A GuestError is what the guest's agent answered when it could not do what it
// was asked for.
type GuestError struct {
	Op     Op
	Reason string
}

// Error names the operation and the guest's reason.
func (e *GuestError) Error() string { return fmt.Sprintf("guest agent: %s: %s", e.Op, e.Reason) }

// Errors that callers may want to tell apart.
var (
	ErrClosed = errors.New("guest agent: connection closed")
	errWindow = errors.New("more data than there was credit for")
	errNoRoom = errors.New("message longer than a frame")
)

// encode is json.Marshal for messages, bounded by the size of a frame.
func encode(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	if len(b) > MaxPayload {
		return nil, errNoRoom
	}
	return b, nil
}
