package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"satchel/syncer/device"
)

func newPublish(a *app) *cobra.Command {
	var line transfer
	c := &cobra.Command{
		Use:   "publish LAYER",
		Short: "Send an os or group layer to the server",
		Long: `Makes a layer of this home known to the server and sends it; later syncs send
its new versions. This device's user must be a publisher. Others may read the layer
when an administrator grants it to them.`,
		Example: `  satchel layer import --kind os debian-12 debian-12.tar
  satchel publish debian-12
  satchel admin layer grant debian-12 read all`,
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeLayers,
		RunE: func(c *cobra.Command, argv []string) error {
			return a.withDevice(&line, func(d *device.Device) error {
				l, err := d.Publish(c.Context(), argv[0])
				if err != nil {
					return err
				}
				return a.print(l, func(w io.Writer) {
					if layerDone(&l) == "" {
						fmt.Fprintf(w, "%s: the server has this version\n", l.Name)
					}
					writeLayerReport(w, &l)
				})
			})
		},
	}
	line.flags(c)
	return c
}
