package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"satchel/store"
	"satchel/vmm/session"
)

// runDetached starts a workspace in the background and tells when it is up.
func (a *app) runDetached(c *cobra.Command, name string) error {
	status, err := a.detach(c, name)
	if err != nil {
		return err
	}
	return a.print(ran{Status: status}, func(w io.Writer) { writeUp(w, status) })
}

func writeUp(w io.Writer, status session.Status) {
	if name := status.Workspace; status.Disk {
		fmt.Fprintf(w, "%s is running (%s); satchel console %s is its serial port, satchel screenshot %s its screen\n", name, status.Boot.Kernel, name, name)
		return
	}
	how := "is up"
	if status.Boot.Resumed {
		how = "goes on"
	}
	fmt.Fprintf(w, "%s %s after %.1f s; satchel exec %s -- COMMAND runs commands in it\n", status.Workspace, how, status.Boot.ReadySeconds, status.Workspace)
}

// detach starts this program again, without --detach and in a session of its
// own, and returns once its guest is up.
func (a *app) detach(c *cobra.Command, name string) (status session.Status, err error) {
	home, err := a.homeDir()
	if err != nil {
		return status, err
	}
	if _, err := session.Dial(c.Context(), home, name); err == nil {
		return status, fmt.Errorf("workspace %s: %w (satchel stop %s ends it)", name, store.ErrBusy, name)
	}
	child, log, err := a.spawn(c, home, name)
	if err != nil {
		return status, err
	}
	gone := make(chan error, 1)
	go func() { gone <- child.Wait() }()
	said := &relay{to: a.stderr, log: log}
	status, err = awaitReady(c.Context(), home, name, gone, said.copy)
	if err != nil {
		if c.Context().Err() != nil {
			child.Process.Signal(syscall.SIGTERM) //nolint:errcheck // it has ended already
			return status, err
		}
		return status, said.failure(err)
	}
	return status, nil
}

// spawn starts the supervising process, which writes to the workspace's log.
func (a *app) spawn(c *cobra.Command, at, name string) (*exec.Cmd, string, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, "", err
	}
	argv := []string{"run", name, "--home", at}
	for _, flag := range []string{"memory", "cpus", "display", "network", "no-fallback", "retry-failed", "limit-down", "firmware", "disk-bus"} {
		if f := c.Flag(flag); f != nil && f.Changed { // switch lacks some
			argv = append(argv, "--"+flag+"="+f.Value.String())
		}
	}
	log := filepath.Join(at, "workspaces", name, "run.log")
	out, err := os.Create(log)
	if errors.Is(err, os.ErrNotExist) {
		return nil, "", a.with(func(h *home) error { _, err := h.workspaces.Load(name); return err })
	}
	if err != nil {
		return nil, "", err
	}
	defer out.Close()
	child := exec.Command(exe, argv...)
	child.Stdout, child.Stderr = out, out
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return child, log, child.Start()
}

// awaitReady asks the session until its guest is up or its process has ended,
// and calls meanwhile again and again.
func awaitReady(ctx context.Context, home, name string, gone <-chan error, meanwhile func()) (session.Status, error) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-gone:
			return session.Status{}, errors.Join(errors.New("the guest did not come up"), err)
		case <-ctx.Done():
			return session.Status{}, ctx.Err()
		case <-tick.C:
		}
		meanwhile()
		client, err := session.Dial(ctx, home, name)
		if err != nil {
			continue // not listening yet
		}
		if status, err := client.Status(ctx); err == nil && status.Ready && !status.Trial {
			return status, nil
		}
	}
}

// A relay passes on what the supervising process says, line by line, but for
// its last word, which is why it failed.
type relay struct {
	to   io.Writer
	log  string
	done int
}

// lastWord begins the line that tells why a satchel process failed.
const lastWord = "satchel: "

func (r *relay) copy() {
	text, err := os.ReadFile(r.log)
	if err != nil || len(text) <= r.done {
		return
	}
	for line := range strings.Lines(string(text[r.done:])) {
		if !strings.HasSuffix(line, "\n") || strings.HasPrefix(line, lastWord) {
			return
		}
		fmt.Fprint(r.to, line)
		r.done += len(line)
	}
}

// relayed is the failure of the supervising process, with its exit code.
type relayed struct {
	error
	code int
}

// failure is the process's last word, or else err.
func (r *relay) failure(err error) error {
	r.copy()
	text, readErr := os.ReadFile(r.log)
	if readErr != nil || len(text) <= r.done {
		return err
	}
	said := errors.New(strings.TrimPrefix(strings.TrimSpace(string(text[r.done:])), lastWord))
	var ended *exec.ExitError
	if errors.As(err, &ended) && ended.ExitCode() > 0 {
		return &relayed{said, ended.ExitCode()}
	}
	return said
}
