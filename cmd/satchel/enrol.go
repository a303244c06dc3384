package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"satchel/syncer/device"
)

func newEnrol(a *app) *cobra.Command {
	var opt device.EnrolOptions
	var publisher string
	c := &cobra.Command{
		Use:   "enrol URL --token TOKEN --ca-fingerprint FINGERPRINT",
		Short: "Join this home to a server",
		Long: `Makes this device's key, which never leaves it, and has the server sign its
certificate. From then on satchel sync and satchel agent keep the home and the
server the same. Layers that the home holds already are carried over into the
server's domain, which takes about as long as importing them did.

An administrator makes the token with satchel admin token add, which prints the
whole command. The fingerprint makes sure that it is the right server. A home
that was enrolled before gets a new certificate, if it is with the same server.`,
		Example: `  satchel enrol https://satchel.school.example:8440 --token TOKEN --ca-fingerprint sha256:…`,
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, argv []string) error {
			dir, err := a.homeDir()
			if err != nil {
				return err
			}
			if publisher != "" {
				if err := opt.Publications.UnmarshalText([]byte(publisher)); err != nil {
					return usageError{fmt.Errorf("--publisher: %w", err)}
				}
			}
			opt.URL, opt.Note = argv[0], a.note
			bar := a.progress("carrying layers over")
			opt.Progress = bar.set
			config, err := device.Enrol(c.Context(), dir, opt)
			bar.done()
			if err != nil {
				return err
			}
			return a.print(config, func(w io.Writer) {
				fmt.Fprintf(w, "enrolled as %s, a device of %s; satchel sync fetches what is there\n", config.Device, config.User)
			})
		},
	}
	c.Flags().StringVar(&opt.Token, "token", "", "the token that an administrator made (required)")
	c.Flags().StringVar(&opt.Fingerprint, "ca-fingerprint", "", "fingerprint of the server's certificate authority (required)")
	c.Flags().StringVar(&opt.Name, "name", hostName(), "what to call this device")
	c.Flags().StringVar(&publisher, "publisher", "", "fingerprint of the domain's publications, from satchel publisher init (default the first that the server shows)")
	err := errors.Join(c.MarkFlagRequired("token"), c.MarkFlagRequired("ca-fingerprint"))
	_ = err // the flags are defined above
	return c
}
