package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

func newStoreGC(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "gc",
		Short: "Remove what no layer reaches any more",
		Long: `Removes chunks that no version of any layer reaches, and no running import,
capture or guest uses, be it suspended. It may run beside all of them.`,
		Example: `  satchel store gc`,
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return a.with(func(h *home) error {
				result, err := h.store.GC(c.Context(), h.repo.Walker(), h.workspaces.Kept, h.workspaces.Roots)
				if err != nil {
					return err
				}
				return a.print(result, func(w io.Writer) {
					fmt.Fprintf(w, "removed %d chunks, freed %s; %d chunks wait for running writers\n", result.SweptChunks, size(result.FreedBytes), result.Condemned)
				})
			})
		},
	}
}
