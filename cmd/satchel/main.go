// Command satchel carries a whole computer from machine to machine: it keeps
// guest operating systems, applications, settings and files as independent
// layers, runs them together as one guest, and gives what the guest changed
// back to the layer that owns it.
//
// Each verb is one file and does one thing: flags in, one call into the layers
// and vmm packages, facts out.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"satchel/store"
	"satchel/syncer"
	"satchel/syncer/device"
)

// memory is about how much this program takes before it would rather collect
// garbage than take more, in bytes. GOMEMLIMIT sets another bound.
const memory = 192 << 20

func main() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memory)
	}
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is main with its surroundings passed in. It returns the exit code.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	profiled, err := profile(os.Getenv("SATCHEL_CPUPROFILE"))
	if err != nil {
		fmt.Fprintf(stderr, "satchel: %v\n", err)
		return exitCode(err)
	}
	defer profiled()
	root := newRoot(&app{stdin: stdin, stdout: stdout, stderr: stderr})
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err = root.ExecuteContext(ctx)
	var guest *guestExit
	switch {
	case err == nil, errors.As(err, &guest):
	case interrupted(ctx, err):
		fmt.Fprintln(stderr, "satchel: interrupted")
		return exitInterrupted
	default:
		fmt.Fprintf(stderr, "satchel: %v\n", err)
	}
	return exitCode(err)
}

// Exit codes, documented in docs/operations.md. A guest command's own code is
// passed on by satchel exec.
const (
	exitOK       = 0
	exitError    = 1
	exitUsage    = 2
	exitNotExist = 3
	exitBusy     = 4
	exitDamaged  = 5
	exitMoved    = 6
	exitOffline  = 7
	exitRefused  = 8

	exitInterrupted = 130
)

// interrupted reports whether err is only that a signal asked this program to end.
func interrupted(ctx context.Context, err error) bool {
	return ctx.Err() != nil && errors.Is(err, context.Canceled)
}

// refused reports whether a server would not let this device or administrator
// do what was asked for.
func refused(err error) bool {
	for _, refusal := range []error{syncer.ErrToken, syncer.ErrCertificate, syncer.ErrExpired, syncer.ErrRevoked, syncer.ErrForbidden, syncer.ErrProtocol} {
		if errors.Is(err, refusal) {
			return true
		}
	}
	return false
}

// usageError marks a command line that makes no sense.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// guestExit is the end of a command inside a guest.
type guestExit struct{ code int }

func (e *guestExit) Error() string { return fmt.Sprintf("exit status %d in the guest", e.code) }

func exitCode(err error) int {
	var usage usageError
	var guest *guestExit
	var child *relayed
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &child):
		return child.code
	case errors.As(err, &guest):
		return guest.code
	case errors.As(err, &usage):
		return exitUsage
	case errors.Is(err, store.ErrNotExist), errors.Is(err, device.ErrNotEnrolled):
		return exitNotExist
	case errors.Is(err, store.ErrBusy):
		return exitBusy
	case errors.Is(err, store.ErrCorrupt):
		return exitDamaged
	case errors.Is(err, store.ErrMoved):
		return exitMoved
	case errors.Is(err, syncer.ErrUnavailable):
		return exitOffline
	case refused(err):
		return exitRefused
	default:
		return exitError
	}
}
