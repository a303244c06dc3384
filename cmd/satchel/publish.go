package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"satchel/syncer/device"
	"satchel/syncer/publication"
)

func newPublish(a *app) *cobra.Command {
	var line transfer
	var r release
	c := &cobra.Command{
		Use:   "publish LAYER",
		Short: "Send an os or group layer to the server, and say that devices shall use it",
		Long: `Makes a layer of this home known to the server and sends it; later syncs send
its new versions. This device's user must be a publisher. Others may read the layer
when an administrator grants it to them, or assigns a workspace with it.

Where the domain has a log of publications (satchel publisher init), devices use
only what was published: the version is signed with this home's key, and the
channel moves to it. Without such a log, devices follow what is sent.`,
		Example: `  satchel layer import --kind os debian-12 debian-12.tar
  satchel publish debian-12
  satchel publish debian-12 --channel canary
  satchel publish debian-12 --wave 5%,25%,100% --stop-at 10%
  satchel publish debian-12 --version 3f0ce1 --back
  satchel admin layer grant debian-12 read all`,
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeLayers,
		RunE: func(c *cobra.Command, argv []string) error {
			if err := r.parse(); err != nil {
				return err
			}
			r.Layer = argv[0]
			return a.withDevice(&line, func(d *device.Device) error {
				l, err := d.Publish(c.Context(), argv[0])
				if err != nil {
					return err
				}
				var moved *publication.Publish
				if !r.only {
					if moved, err = a.release(c, d, r.Release); err != nil {
						return err
					}
				}
				facts := struct {
					device.LayerReport
					Release *publication.Publish `json:"release,omitempty"`
				}{l, moved}
				return a.print(facts, func(w io.Writer) {
					if layerDone(&l) == "" {
						fmt.Fprintf(w, "%s: the server has this version\n", l.Name)
					}
					writeLayerReport(w, &l)
					if moved != nil {
						fmt.Fprintf(w, "channel %s is at %s\n", moved.Channel, moved.Version.Short())
					}
				})
			})
		},
	}
	line.flags(c)
	r.flags(c)
	return c
}

// release moves the channel, where the domain has a log of publications. Layers
// that have no channels are only sent.
func (a *app) release(c *cobra.Command, d *device.Device, r device.Release) (*publication.Publish, error) {
	log, err := d.Log(c.Context())
	if err != nil || log.Seq == 0 {
		return nil, err
	}
	p, err := d.Release(c.Context(), r)
	switch {
	case errors.Is(err, device.ErrNoChannel):
		return nil, nil
	case errors.Is(err, publication.ErrDowngrade):
		err = fmt.Errorf("%w (--back publishes it all the same)", err)
	}
	return &p, adviseSigner(err)
}
