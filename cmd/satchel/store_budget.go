package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"satchel/syncer"
	"satchel/syncer/device"
)

func newStoreBudget(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "budget [SIZE|none]",
		Short: "Tell or set how much of the disk this home may take",
		Long: `Without an argument it tells how much room the home takes and may take. With a
size, such as 20G, the home may take that much from now on; with none, as much as
is free but for a twentieth of the disk, or 1 GiB. When it is more, or when what
comes next does not fit, satchel sync and satchel agent give up old versions that
the server has, the oldest first.`,
		Example: `  satchel store budget 20G
  satchel store budget --json`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(_ *cobra.Command, argv []string) error {
			return a.with(func(h *home) error {
				if len(argv) > 0 {
					var bytes int64
					if argv[0] != "none" {
						var err error
						if bytes, err = parseSize(argv[0]); err != nil {
							return usageError{err}
						}
					}
					if err := device.SetBudget(h.dir, bytes); err != nil {
						return err
					}
				}
				d, err := device.DiskOf(h.dir)
				if err != nil {
					return err
				}
				return a.print(d, func(w io.Writer) { fmt.Fprintln(w, diskLine(&d)) })
			})
		},
	}
}

// diskLine tells how much room a home takes and may take.
func diskLine(d *syncer.Disk) string {
	line := fmt.Sprintf("disk: this home takes %s", size(d.Used))
	if d.Budget > 0 {
		line += fmt.Sprintf(" of a budget of %s", size(d.Budget))
	}
	line += fmt.Sprintf("; %s are free, of which %s are to stay so", size(d.Free), size(d.Keep))
	if d.Lacking > 0 {
		line += fmt.Sprintf("\n  %s: it takes %s more (satchel store budget raises a budget; satchel store evict --dry-run tells what could go)", d.Reason, size(d.Lacking))
	}
	return line
}
