package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"satchel/syncer/device"
)

func newFetch(a *app) *cobra.Command {
	var line transfer
	c := &cobra.Command{
		Use:   "fetch LAYER@VERSION",
		Short: "Fetch an older version of a layer, to roll back to or look at",
		Long: `A device fetches the newest version of each layer, and only the records of those
before it. This fetches one of those with all its files, and gives up other old versions for
it if there is no room.`,
		Example: `  satchel layer log ana/data
  satchel fetch ana/data@3f9a0c5d7e21
  satchel layer rollback ana/data 3f9a0c5d7e21`,
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeLayers,
		RunE: func(c *cobra.Command, argv []string) error {
			name, digits, exact := strings.Cut(argv[0], "@")
			if !exact {
				return usageError{fmt.Errorf("%q: want LAYER@VERSION (satchel layer log %s lists the versions)", argv[0], name)}
			}
			return a.withDevice(&line, func(d *device.Device) error {
				e, err := d.Fetch(c.Context(), name, digits)
				for _, o := range e.Evicted {
					a.note("%s@%s was given up for it", o.Layer, o.Version.Short())
				}
				if err != nil {
					return err
				}
				a.note("%s is here", argv[0])
				return nil
			})
		},
	}
	line.flags(c)
	return c
}
