package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"satchel/layers"
	"satchel/vmm/session"
)

func newReset(a *app) *cobra.Command {
	var kinds []string
	var force bool
	c := &cobra.Command{
		Use:   "reset WORKSPACE [--kind KIND]...",
		Short: "Empty layers of a workspace: a fresh machine, the files kept",
		Long: `Makes a new, empty version of the workspace's personal, system and local layers,
or of those named with --kind. The data layer is only reset when it is named.
Nothing is lost: satchel layer rollback brings any version back. The os and group
layers need no reset, since no guest ever writes to them; --kind os takes away
what the personal and system layers hide or change of them. A suspended workspace
is not reset, unless --force gives up what its guest has in memory.`,
		Example: `  satchel reset ana                    # as new, with Ana's files
  satchel reset ana --kind personal    # only the applications she installed`,
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeWorkspaces,
		RunE: func(c *cobra.Command, argv []string) error {
			var chosen []layers.Kind
			for _, k := range kinds {
				kind, err := layers.ParseKind(k)
				if err != nil {
					return usageError{err}
				}
				chosen = append(chosen, kind)
			}
			return a.with(func(h *home) error {
				if force {
					if _, err := h.host(a).Drop(c.Context(), argv[0]); err != nil {
						return err
					}
				}
				got, err := h.host(a).Reset(c.Context(), argv[0], chosen)
				if err != nil {
					return err
				}
				return a.print(got, func(w io.Writer) { writeReset(w, got) })
			})
		},
	}
	c.Flags().StringArrayVar(&kinds, "kind", nil, "a kind of layer to reset: os, personal, system, local or data")
	c.Flags().BoolVar(&force, "force", false, "also if the guest is suspended: what it has in memory is lost")
	completeWords(c, "kind", "os", "personal", "system", "local", "data")
	return c
}

func writeReset(w io.Writer, got []session.CapturedLayer) {
	if len(got) == 0 {
		fmt.Fprintln(w, "nothing to reset")
	}
	for _, l := range got {
		fmt.Fprintf(w, "%s %s@%s: %d paths taken away\n", l.Kind, l.Name, l.Version.Short(), l.Changes)
	}
}
