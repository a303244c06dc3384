package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"satchel/layers/workspace"
	"satchel/store"
	"satchel/vmm/session"
)

type listed struct {
	workspace.Definition
	State string `json:"state"` // running, suspended, uncaptured, stopped
}

func newWorkspaceLs(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "ls",
		Short:   "List the workspaces",
		Example: `  satchel workspace ls`,
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return a.with(func(h *home) error {
				names, err := h.workspaces.List()
				if err != nil {
					return err
				}
				out := []listed{}
				for _, name := range names {
					d, err := h.workspaces.Load(name)
					if err != nil {
						return err
					}
					state, err := h.state(c, name)
					if err != nil {
						return err
					}
					out = append(out, listed{d, state})
				}
				return a.print(out, func(w io.Writer) {
					table(w, func(w io.Writer) {
						fmt.Fprintln(w, "NAME\tOS\tGROUPS\tSTATE")
						for _, l := range out {
							fmt.Fprintf(w, "%s\t%s\t%d\t%s\n", l.Name, l.OS.Name, len(l.Groups), l.State)
						}
					})
				})
			})
		},
	}
}

// state tells whether a workspace runs, is suspended, or has changes that are not
// captured.
func (h *home) state(c *cobra.Command, name string) (string, error) {
	if _, err := session.Dial(c.Context(), h.dir, name); err == nil {
		return "running", nil
	}
	rec, err := h.workspaces.LoadSession(name)
	switch {
	case errors.Is(err, store.ErrNotExist):
		return "stopped", nil
	case rec.State == workspace.Suspended:
		return "suspended", nil
	}
	return "uncaptured", err
}
