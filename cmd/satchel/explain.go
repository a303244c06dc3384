package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

func newExplain(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "explain WORKSPACE PATH",
		Short: "Tell which layer a path comes from, and why",
		Long: `Tells which layers of the workspace provide PATH, why the last capture put it
there, and where a change of it would go.`,
		Example: `  satchel explain ana /etc/passwd
  satchel explain ana /home/ana/thesis.odt --json`,
		Args:              args(cobra.ExactArgs(2)),
		ValidArgsFunction: a.completeWorkspaces,
		RunE: func(c *cobra.Command, argv []string) error {
			return a.with(func(h *home) error {
				got, err := h.host(a).Explain(c.Context(), argv[0], argv[1])
				if err != nil {
					return err
				}
				return a.print(got, func(w io.Writer) {
					for _, l := range got.Lines() {
						fmt.Fprintln(w, l)
					}
				})
			})
		},
	}
}
