package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"satchel/layers/workspace"
	"satchel/store"
	"satchel/vmm/session"
)

// switched is what switch prints.
type switched struct {
	From    *session.Suspended `json:"from,omitempty"` // absent: nothing ran
	To      session.Status     `json:"to"`
	Seconds float64            `json:"seconds"` // in all
}

func newSwitch(a *app) *cobra.Command {
	var opt session.Options
	var memory, from string
	c := &cobra.Command{
		Use:   "switch WORKSPACE [--from WORKSPACE]",
		Short: "Suspend the workspace that runs and go on with another",
		Long: `Suspends the workspace that runs in this home, as satchel suspend does, and then
lets the other one go on, or boots it if it is not suspended, as satchel run
--detach does. If several run, --from names the one to be suspended. If the one
cannot be suspended, it goes on and the other is not started.`,
		Example: `  satchel switch work
  satchel switch ana --from work --json`,
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeWorkspaces,
		RunE: func(c *cobra.Command, argv []string) error {
			if err := checkMachineFlags(&opt, memory); err != nil {
				return err
			}
			return a.switchTo(c, from, argv[0])
		},
	}
	addMachineFlags(c, &opt, &memory)
	c.Flags().StringVar(&from, "from", "", "the workspace to suspend (default: the one that runs)")
	c.RegisterFlagCompletionFunc("from", func(c *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) { //nolint:errcheck // the flag is defined above
		return a.completeWorkspaces(c, nil, prefix)
	})
	return c
}

func (a *app) switchTo(c *cobra.Command, from, to string) error {
	begun := time.Now()
	var out switched
	err := a.leaving(c, from, to, func(s *session.Client) error {
		got, err := s.Suspend(c.Context())
		out.From = &got
		return err
	})
	if err != nil {
		return err
	}
	if out.To, err = a.detach(c, to); err != nil {
		if out.From != nil {
			err = fmt.Errorf("%w\n%s is suspended: satchel run %s --detach lets it go on", err, out.From.Workspace, out.From.Workspace)
		}
		return err
	}
	out.Seconds = seconds(time.Since(begun))
	return a.print(out, func(w io.Writer) {
		if out.From != nil {
			writeSuspended(w, out.From)
		}
		writeUp(w, out.To)
	})
}

// leaving calls fn with the session to be suspended, if there is one.
func (a *app) leaving(c *cobra.Command, from, to string, fn func(*session.Client) error) error {
	dir, err := a.homeDir()
	if err != nil {
		return err
	}
	set := workspace.Open(dir)
	if _, err := set.Load(to); err != nil {
		return err
	}
	if from == to {
		return usageError{fmt.Errorf("--from %s: the same as the workspace to go on with", from)}
	}
	if _, err := session.Dial(c.Context(), dir, to); err == nil {
		return fmt.Errorf("workspace %s runs already: %w", to, store.ErrBusy)
	}
	if from != "" {
		return a.withSession(c.Context(), from, fn)
	}
	names, err := set.List()
	if err != nil {
		return err
	}
	var running []string
	var found *session.Client
	for _, name := range names {
		client, err := session.Dial(c.Context(), dir, name)
		if errors.Is(err, session.ErrNotRunning) {
			continue
		}
		if err != nil {
			return err
		}
		running, found = append(running, name), client
	}
	switch len(running) {
	case 0:
		return nil
	case 1:
		return fn(found)
	}
	return usageError{fmt.Errorf("%s run: say with --from which one is to be suspended", strings.Join(running, ", "))}
}
