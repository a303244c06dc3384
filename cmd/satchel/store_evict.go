package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"satchel/syncer/device"
)

func newStoreEvict(a *app) *cobra.Command {
	var budget string
	var trial bool
	c := &cobra.Command{
		Use:   "evict",
		Short: "Give up old versions that the server has, until the home is within its budget",
		Long: `Gives up the files of old versions, the oldest first, until the home takes no more
than its disk budget. Their records stay: satchel layer log shows them as "(not
here)", and satchel fetch brings one back. What stays: heads, what was not sent,
what a session lies on or a workspace may have to go back to, and what was fetched
by hand within a day. satchel sync and satchel agent do the same by themselves.`,
		Example: `  satchel store evict --dry-run
  satchel store evict --budget 8G`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			bytes, err := parseLimit(budget)
			if err != nil {
				return err
			}
			return a.withDevice(plainLine(), func(d *device.Device) error {
				e, err := d.Evict(c.Context(), bytes, trial)
				if err != nil {
					return err
				}
				return a.print(e, func(w io.Writer) { writeEviction(w, &e, trial) })
			})
		},
	}
	c.Flags().StringVar(&budget, "budget", "", "what the home may take, as 8G (default its own budget)")
	c.Flags().BoolVar(&trial, "dry-run", false, "only tell what would go, and what would not and why")
	return c
}

func writeEviction(w io.Writer, e *device.Eviction, trial bool) {
	writeOld(w, e.Evicted)
	verb := "freed"
	if trial {
		table(w, func(w io.Writer) {
			for _, o := range e.Stay {
				fmt.Fprintf(w, "%s@%s\t%s\tstays: %s\n", o.Layer, o.Version.Short(), when(o.Used), o.Reason)
			}
		})
		verb = "would free about"
	}
	fmt.Fprintf(w, "%s: %s %s\n", count(len(e.Evicted), "old version"), verb, size(e.Freed))
	if e.Waiting > 0 {
		fmt.Fprintf(w, "%d chunks wait for running writers\n", e.Waiting)
	}
	if e.Lacking > 0 {
		fmt.Fprintf(w, "that is %s short of the budget: no other version may go\n", size(e.Lacking))
	}
	fmt.Fprintln(w, diskLine(&e.Disk))
}

// writeOld lists versions that were given up.
func writeOld(w io.Writer, all []device.Old) {
	table(w, func(w io.Writer) {
		for _, o := range all {
			fmt.Fprintf(w, "%s@%s\t%s\tgiven up\n", o.Layer, o.Version.Short(), when(o.Used))
		}
	})
}
