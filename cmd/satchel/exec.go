package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"satchel/layers/workspace"
	"satchel/vmm/agent"
	"satchel/vmm/session"
)

func newExec(a *app) *cobra.Command {
	var env []string
	var dir, user string
	var tty bool
	c := &cobra.Command{
		Use:   "exec WORKSPACE -- COMMAND [ARG]...",
		Short: "Run a command in the running guest",
		Long: `Runs a command in the guest, as its root, without a shell. Standard input, output
and error are passed through, and so is the exit status; 127 means that there is
no such command, 126 that it may not be executed, 125 that it could not be
started for another reason.`,
		Example: `  satchel exec ana -- systemctl --failed
  satchel exec ana --tty -- bash
  satchel exec ana -- sh -c 'cat > /tmp/app.deb && apt-get install -y /tmp/app.deb' < app.deb
  satchel exec ana --user ana -- id`,
		Args:              args(cobra.MinimumNArgs(2)),
		ValidArgsFunction: a.completeWorkspaces,
		RunE: func(c *cobra.Command, argv []string) error {
			return a.withGuest(c.Context(), argv[0], func(g *agent.Client) error {
				return a.exec(c.Context(), g, agent.ExecRequest{Argv: argv[1:], Env: env, Dir: dir, User: user}, tty)
			})
		},
	}
	c.Flags().StringArrayVar(&env, "env", nil, "a variable for the command, NAME=VALUE")
	c.Flags().StringVar(&dir, "dir", "", "the directory to run it in (default: the user's home)")
	c.Flags().StringVar(&user, "user", "", "the user to run it as (default root)")
	c.Flags().BoolVarP(&tty, "tty", "t", false, "run it on a terminal, for shells and the like")
	return c
}

// exec runs a command with this program's own standard streams, with tty on a
// terminal of its own that is as large as this one.
func (a *app) exec(ctx context.Context, g *agent.Client, req agent.ExecRequest, tty bool) error {
	req.Stdin, req.Stdout, req.Stderr = a.stdin, a.stdout, a.stderr
	if tty {
		restore, err := a.lendTerminal(&req)
		if err != nil {
			return err
		}
		defer restore()
	}
	code, err := g.Exec(ctx, req)
	var refused *agent.GuestError
	switch {
	case errors.As(err, &refused):
		a.note("%scannot run %s in the guest: %s", lastWord, req.Argv[0], refused.Reason)
		return &guestExit{code} // 125 to 127, as shells have it
	case err != nil:
		return fmt.Errorf("run %s in the guest: %w", req.Argv[0], err)
	case code != 0:
		return &guestExit{code}
	}
	return nil
}

// lendTerminal passes this program's terminal on to the command: every key, and
// its size whenever that changes. The returned function takes it back.
func (a *app) lendTerminal(req *agent.ExecRequest) (restore func(), err error) {
	f, ok := a.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil, usageError{errors.New("--tty: standard input is not a terminal")}
	}
	size := func() agent.Size {
		w, h, err := term.GetSize(int(f.Fd()))
		if err != nil || w == 0 || h == 0 {
			return agent.Size{Rows: 24, Cols: 80}
		}
		return agent.Size{Rows: uint16(h), Cols: uint16(w)}
	}
	first := size()
	req.TTY = &first
	req.Env = append([]string{"TERM=" + cmp.Or(os.Getenv("TERM"), "linux")}, req.Env...)
	changed, resizes, quit := make(chan os.Signal, 1), make(chan agent.Size), make(chan struct{})
	signal.Notify(changed, syscall.SIGWINCH)
	go func() {
		for {
			select {
			case <-changed:
			case <-quit:
				return
			}
			select {
			case resizes <- size():
			case <-quit:
				return
			}
		}
	}()
	req.Resizes = resizes
	old, err := term.MakeRaw(int(f.Fd()))
	if err != nil {
		close(quit)
		return nil, err
	}
	return func() {
		signal.Stop(changed)
		close(quit)
		term.Restore(int(f.Fd()), old) //nolint:errcheck // nothing is left to try
	}, nil
}

// withSession finds the running session of a workspace.
func (a *app) withSession(ctx context.Context, name string, fn func(*session.Client) error) error {
	dir, err := a.homeDir()
	if err != nil {
		return err
	}
	client, err := session.Dial(ctx, dir, name)
	if errors.Is(err, session.ErrNotRunning) {
		set := workspace.Open(dir)
		if _, err := set.Load(name); err != nil {
			return err
		}
		if rec, err := set.LoadSession(name); err == nil && rec.State == workspace.Suspended {
			return fmt.Errorf("workspace %s %w: %w (satchel run %s --detach resumes it)", name, workspace.ErrSuspended, session.ErrNotRunning, name)
		}
	}
	if err != nil {
		return fmt.Errorf("%w (satchel run %s --detach starts it)", err, name)
	}
	return fn(client)
}

// withGuest connects to the agent of a running guest.
func (a *app) withGuest(ctx context.Context, name string, fn func(*agent.Client) error) error {
	return a.withSession(ctx, name, func(s *session.Client) error {
		conn, err := s.Agent(ctx)
		if err != nil {
			return err
		}
		g := agent.NewClient(conn)
		defer g.Close()
		if _, err := g.Hello(ctx); err != nil {
			return fmt.Errorf("wait for the guest agent: %w", err)
		}
		return fn(g)
	})
}
