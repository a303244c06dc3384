package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"satchel/syncer"
)

func newAdminDevice(a *app) *cobra.Command {
	return group("device", "Manage enrolled devices", newAdminDeviceLs(a), newAdminDeviceRevoke(a), newAdminDeviceRm(a))
}

func newAdminDeviceLs(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "ls",
		Short:   "List the devices",
		Example: `  satchel admin device ls`,
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			devices := []syncer.Device{}
			if err := a.admin(c.Context(), "GET", "devices", nil, &devices); err != nil {
				return err
			}
			return a.print(devices, func(w io.Writer) { writeDevices(w, devices...) })
		},
	}
}

func newAdminDeviceRevoke(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "revoke NAME",
		Short: "Refuse a device from now on, connections that are open included",
		Long: `Refuses a device for good. What it has sent stays; what it holds it can go on
using off line. To let it in again, give its user a new token to enrol with.`,
		Example: `  satchel admin device revoke lost-laptop`,
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, argv []string) error {
			var d syncer.Device
			if err := a.admin(c.Context(), "POST", at("devices", argv[0], "revoke"), nil, &d); err != nil {
				return err
			}
			return a.print(d, func(w io.Writer) { writeDevices(w, d) })
		},
	}
}

func newAdminDeviceRm(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "rm NAME",
		Short:   "Forget a device; its name may be used again",
		Example: `  satchel admin device rm lost-laptop`,
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, argv []string) error {
			return a.admin(c.Context(), "DELETE", at("devices", argv[0]), nil, nil)
		},
	}
}

func writeDevices(w io.Writer, devices ...syncer.Device) {
	table(w, func(w io.Writer) {
		fmt.Fprintln(w, "DEVICE\tUSER\tENROLLED\tLAST SEEN\tCERTIFICATE UNTIL\tSTATE")
		for _, d := range devices {
			state := "enrolled"
			if d.Revoked {
				state = "revoked"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", d.Name, d.User, when(d.Enrolled), whenEver(d.LastSeen), when(d.Expires), state)
		}
	})
}

// whenEver is when, or a dash for never.
func whenEver(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return when(t)
}
