package main

import "github.com/spf13/cobra"

func newServer(a *app) *cobra.Command {
	return group("server", "Make and run a server", newServerInit(a), newServerRun(a), newServerAdminToken(a))
}
