package main

import "github.com/spf13/cobra"

func newWorkspace(a *app) *cobra.Command {
	return group("workspace", "Put layers together into workspaces",
		newWorkspaceCreate(a), newWorkspaceLs(a), newWorkspaceShow(a), newWorkspaceSet(a), newWorkspaceRename(a), newWorkspaceRm(a))
}
