package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"satchel/layers/workspace"
)

func newWorkspaceRm(a *app) *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use:   "rm NAME",
		Short: "Remove a workspace; its layers stay",
		Long: `Removes the workspace's definition. Its layers and all their versions stay in
the store: creating a workspace of the same name takes them up again. A workspace
that runs, is suspended, or whose changes are not captured yet, is not removed;
--force gives up what a suspended guest has in memory, and changes that cannot be
captured.`,
		Example:           `  satchel workspace rm ana`,
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeWorkspaces,
		RunE: func(_ *cobra.Command, argv []string) error {
			return a.with(func(h *home) error {
				if force {
					return h.workspaces.Discard(argv[0])
				}
				err := h.workspaces.Remove(argv[0])
				if errors.Is(err, workspace.ErrSuspended) {
					return fmt.Errorf("%w (satchel run %s resumes it; --force gives up what it has in memory)", err, argv[0])
				}
				return err
			})
		},
	}
	c.Flags().BoolVar(&force, "force", false, "also with changes that are not captured: they are lost")
	return c
}
