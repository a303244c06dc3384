package main

import (
	"io"

	"github.com/spf13/cobra"

	"satchel/layers"
	"satchel/layers/workspace"
)

func newWorkspaceSet(a *app) *cobra.Command {
	var osLayer string
	var groups []string
	c := &cobra.Command{
		Use:   "set NAME [--os LAYER] [--group LAYER]...",
		Short: "Give a workspace another os layer or other group layers",
		Long: `Replaces the layers below the workspace's own, which stay as they are. Changes
of the last session that are not captured yet are captured first. With --group,
the groups given replace all that there were; --group "" leaves none.`,
		Example: `  satchel workspace set ana --os debian-13
  satchel workspace set ana --group office --group class-8b`,
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeWorkspaces,
		RunE: func(c *cobra.Command, argv []string) error {
			return a.with(func(h *home) error {
				var def workspace.Definition
				_, err := h.host(a).Settle(c.Context(), argv[0], func() error {
					return h.workspaces.Update(argv[0], func(d *workspace.Definition) (err error) {
						if osLayer != "" {
							if d.OS, err = h.published(c.Context(), osLayer, layers.OS); err != nil {
								return err
							}
						}
						if c.Flags().Changed("group") {
							if len(groups) == 1 && groups[0] == "" {
								groups = nil
							}
							if d.Groups, err = h.publishedGroups(c.Context(), groups); err != nil {
								return err
							}
						}
						def = *d
						return nil
					})
				})
				if err != nil {
					return err
				}
				return a.print(def, func(w io.Writer) { writeDefinition(w, def) })
			})
		},
	}
	c.Flags().StringVar(&osLayer, "os", "", "the os layer")
	c.Flags().StringArrayVar(&groups, "group", nil, "a group layer; later ones lie above earlier ones")
	a.completeLayerFlags(c, "os", "group")
	return c
}
