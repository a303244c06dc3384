package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"satchel/syncer/server"
)

func newServerInit(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "init DIR",
		Short: "Make a server's directory: its store, registry and certificate authority",
		Long: `Makes all that a server needs, in an empty directory, and prints what is told
only now: the administrator's token, and the fingerprint by which devices know
the server. Keep the token secret; the fingerprint is public.`,
		Example: `  satchel server init /srv/satchel`,
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, argv []string) error {
			made, err := server.Init(argv[0])
			if err != nil {
				return err
			}
			return a.print(made, func(w io.Writer) {
				table(w, func(w io.Writer) {
					fmt.Fprintf(w, "administrator's token\t%s\n", made.AdminToken)
					fmt.Fprintf(w, "CA fingerprint\t%s\n", made.Fingerprint)
				})
				fmt.Fprintf(w, "Next: satchel server run %s\n", argv[0])
				fmt.Fprintf(w, "then: satchel admin login https://HOST:%s --token TOKEN --ca-fingerprint FINGERPRINT\n", defaultPort)
			})
		},
	}
}
