package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

func newLayerLs(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "ls",
		Short:   "List the layers",
		Example: `  satchel layer ls --json`,
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return a.with(func(h *home) error {
				infos, err := h.repo.Layers(c.Context())
				if err != nil {
					return err
				}
				return a.print(infos, func(w io.Writer) {
					table(w, func(w io.Writer) {
						fmt.Fprintln(w, "NAME\tKIND\tVERSION\tMADE\tFILES\tSIZE\tVERSIONS")
						for _, l := range infos {
							if l.Version.IsZero() {
								fmt.Fprintf(w, "%s\t-\t-\t-\t0\t0 B\t0\n", l.Name)
								continue
							}
							fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\t%d\n", l.Name, l.Kind, l.Version.Short(), when(l.Time), l.Files, size(l.Bytes), l.Versions)
						}
					})
				})
			})
		},
	}
}
