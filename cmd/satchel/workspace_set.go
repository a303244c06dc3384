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
	var rules startRules
	c := &cobra.Command{
		Use:   "set NAME [--os LAYER] [--group LAYER]... [--reset KIND=RULE]...",
		Short: "Give a workspace other os or group layers, or rules for its starts",
		Long: `Replaces the layers below the workspace's own, which stay as they are. Changes
of the last session that are not captured yet are captured first. With --group,
the groups given replace all that there were; --group "" leaves none.

--reset says when personal, system and local begin afresh at a start: never,
every-start, daily (at the first start of a day), or on-upgrade (with another
version of the os). History is kept. Data never begins afresh.

A guest with new versions is healthy when it has come up within --health-within
and --health-check, a shell command that it runs, ends with status 0. For guests
without the agent, --health-runs is how long the machine has to run instead.`,
		Example: `  satchel workspace set ana --os debian-13
  satchel workspace set ana --group office --group class-8b
  satchel workspace set ana --reset personal=every-start,system=on-upgrade
  satchel workspace set ana --health-within 10m --health-check 'systemctl is-active cups'`,
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
						err = rules.apply(c, &d.Options)
						def = *d
						return err
					})
				})
				if err != nil {
					return err
				}
				return a.print(def, func(w io.Writer) { writeDefinition(w, def); writeOptions(w, &def.Options) })
			})
		},
	}
	c.Flags().StringVar(&osLayer, "os", "", "the os layer")
	c.Flags().StringArrayVar(&groups, "group", nil, "a group layer; later ones lie above earlier ones")
	rules.flags(c)
	a.completeLayerFlags(c, "os", "group")
	return c
}
