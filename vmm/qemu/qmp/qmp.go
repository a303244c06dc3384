// Package qmp speaks QMP, the control protocol of a running QEMU.
//
// # Vocabulary
//
// The monitor is QEMU's end. It opens with a greeting; a client leaves
// negotiation mode with qmp_capabilities and may then execute commands. Each
// command carries an id and is answered once, by a return or an error. Events
// arrive at any time, between answers.
//
// # Invariants
//
//   - Commands may be executed from several goroutines at once.
//   - Events never hold up answers: the queue of events is bounded, and when
//     nobody reads it the oldest event is dropped and counted.
//   - A line from the monitor is at most [MaxLine] bytes; anything longer or
//     malformed closes the connection, and every waiting command learns why.
//
// # The one idea
//
// One goroutine reads. It owns the decoder and hands each answer to the one
// command that waits for it, so that no lock is held while anything blocks.
//
// Source: QEMU Machine Protocol specification,
// https://www.qemu.org/docs/master/interop/qmp-spec.html.
package qmp

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// MaxLine is the longest message, in bytes, that a client takes from a monitor.
const MaxLine = 16 << 20

// ErrClosed reports a command on a connection that has ended. The error that
// wraps it says why it ended, where that is known.
var ErrClosed = errors.New("monitor connection is closed")

// ErrProtocol reports a monitor that does not speak QMP as specified.
var ErrProtocol = errors.New("monitor does not speak QMP")

// An Error is what the monitor answers when it does not do a command.
type Error struct {
	Command string `json:"-"`
	Class   string `json:"class"` // "GenericError", "CommandNotFound", "DeviceNotFound", …
	Desc    string `json:"desc"`  // for people, with no promise about its wording
}

// Error names the command and what the monitor said of it.
func (e *Error) Error() string { return fmt.Sprintf("qemu %s: %s", e.Command, e.Desc) }

// An Event is something that happened in QEMU or its guest.
type Event struct {
	Name string          // "SHUTDOWN", "STOP", "RESUME", …
	Data json.RawMessage // an object, or nil
	Time time.Time       // by the host's clock, or zero when the host has none
}

// A Version is the version of QEMU, as its greeting tells.
type Version struct {
	Major, Minor, Micro int
	Package             string // of the distribution, may be empty
}

// String returns "7.2.22", without the distribution's part.
func (v Version) String() string { return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Micro) }
