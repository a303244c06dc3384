package main

import (
	"bytes"
	"context"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"satchel/vmm/session"
)

// detachKey ends a console: ctrl-], as telnet and virsh have it.
const detachKey = 0x1d

func newConsole(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "console WORKSPACE",
		Short:             "Attach to the guest's serial console",
		Long:              `Connects this terminal to the guest's serial console. Ctrl-] detaches.`,
		Example:           `  satchel console ana`,
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeWorkspaces,
		RunE: func(c *cobra.Command, argv []string) error {
			return a.withSession(c.Context(), argv[0], func(s *session.Client) error { return a.console(c.Context(), s) })
		},
	}
}

func (a *app) console(ctx context.Context, s *session.Client) error {
	conn, err := s.Console(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if f, ok := a.stdin.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		a.note("attached; ctrl-] detaches")
		old, err := term.MakeRaw(int(f.Fd()))
		if err != nil {
			return err
		}
		defer term.Restore(int(f.Fd()), old) //nolint:errcheck // nothing is left to try
	}
	done := make(chan error, 2)
	go func() { _, err := io.Copy(a.stdout, conn); done <- err }()
	go func() { done <- typeUntil(conn, a.stdin) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return nil
	}
}

// typeUntil copies what is typed until the detach key. At the end of input that
// is not typed it waits for the guest instead.
func typeUntil(w io.Writer, r io.Reader) error {
	buf := make([]byte, 256)
	for {
		n, err := r.Read(buf)
		typed, _, found := bytes.Cut(buf[:n], []byte{detachKey})
		if _, err := w.Write(typed); err != nil || found {
			return err
		}
		if err == io.EOF {
			select {}
		}
		if err != nil {
			return err
		}
	}
}
