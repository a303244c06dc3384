package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"satchel/syncer/server"
)

func newServerAdminToken(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "admin-token DIR",
		Short: "Make a new administrator's token, when the old one is lost or known to others",
		Long: `Makes a new administrator's token for the server in DIR, which must not run
meanwhile, and prints it. The old one is worth nothing from then on; devices are
not affected.`,
		Example: `  satchel server admin-token /srv/satchel`,
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, argv []string) error {
			token, err := server.NewAdminToken(argv[0])
			if err != nil {
				return err
			}
			made := struct {
				AdminToken string `json:"admin_token"`
			}{token}
			return a.print(made, func(w io.Writer) { fmt.Fprintln(w, token) })
		},
	}
}
