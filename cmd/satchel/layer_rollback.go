package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"satchel/store"
)

func newLayerRollback(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "rollback NAME VERSION",
		Short: "Make a layer again what it was at an earlier version",
		Long: `Makes a new version of the layer that holds what VERSION held. Nothing is
removed: the versions between stay in the log, and can be rolled back to.`,
		Example: `  satchel layer log ana/personal
  satchel layer rollback ana/personal 3f2a91`,
		Args:              args(cobra.ExactArgs(2)),
		ValidArgsFunction: a.completeLayers,
		RunE: func(c *cobra.Command, argv []string) error {
			return a.with(func(h *home) error {
				head, err := h.store.Heads().Lookup(c.Context(), argv[0])
				if err != nil {
					return err
				}
				if err := h.unused(c.Context(), head); err != nil {
					return err
				}
				id, err := h.repo.Rollback(c.Context(), argv[0], argv[1])
				if err != nil {
					return err
				}
				facts := struct {
					Name    string   `json:"name"`
					Version store.ID `json:"version"`
				}{argv[0], id}
				return a.print(facts, func(w io.Writer) { fmt.Fprintf(w, "%s@%s\n", argv[0], id.Short()) })
			})
		},
	}
}
