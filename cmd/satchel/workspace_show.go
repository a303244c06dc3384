package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"satchel/layers/workspace"
)

// described is what workspace show prints.
type described struct {
	listed
	Health workspace.Health `json:"health"`
}

func newWorkspaceShow(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "show NAME",
		Short:             "Tell about a workspace and its stack of layers",
		Example:           `  satchel workspace show ana --json`,
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeWorkspaces,
		RunE: func(c *cobra.Command, argv []string) error {
			return a.with(func(h *home) error {
				def, err := h.workspaces.Load(argv[0])
				if err != nil {
					return err
				}
				state, err := h.state(c, argv[0])
				if err != nil {
					return err
				}
				health, err := h.workspaces.LoadHealth(argv[0])
				if err != nil {
					return err
				}
				return a.print(described{listed{def, state}, health}, func(w io.Writer) {
					writeDefinition(w, def)
					writeOptions(w, &def.Options)
					writeHealth(w, "", &health)
					fmt.Fprintf(w, "state: %s\n", state)
				})
			})
		},
	}
}
