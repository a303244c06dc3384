package main

import "github.com/spf13/cobra"

func newWorkspaceRename(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "rename OLD NEW",
		Short: "Give a workspace another name",
		Long: `Renames a workspace. Its layers keep their names. The workspace must not be
running or hold changes that are not captured.`,
		Example:           `  satchel workspace rename ana ana-school`,
		Args:              args(cobra.ExactArgs(2)),
		ValidArgsFunction: a.completeWorkspaces,
		RunE: func(_ *cobra.Command, argv []string) error {
			return a.with(func(h *home) error { return h.workspaces.Rename(argv[0], argv[1]) })
		},
	}
}
