package main

import (
	"fmt"
	"io"
	"math"
	"time"

	"github.com/spf13/cobra"

	"satchel/layers/workspace"
	"satchel/syncer/device"
	"satchel/syncer/exchange"
)

// stands is what status prints.
type stands struct {
	device.Status
	Health map[string]workspace.Health `json:"health"` // by workspace
}

func newStatus(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Tell how this home stands to its server",
		Long: `Shows for each layer of each workspace whether it is equal to the server's, ahead
of it, behind it, or both have moved on (diverged), how much there is to send and
to fetch, whether the workspace can be run off line, and with which versions its guest was
well, or failed. Of one that runs before all of its files are here it shows how much is, and
when the rest will be. Sizes of layers are those of files,
before compression; what the home takes of the disk is told as it is. Without a connection it goes by what was last heard.`,
		Example: `  satchel status
  satchel status --json`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return a.withDevice(&transfer{deltas: string(exchange.Auto)}, func(d *device.Device) error {
				st, err := d.Status(c.Context())
				if err != nil {
					return err
				}
				facts := stands{Status: st, Health: map[string]workspace.Health{}}
				dir, err := a.homeDir()
				if err != nil {
					return err
				}
				set := workspace.Open(dir)
				for _, ws := range st.Workspaces {
					if facts.Health[ws.Name], err = set.LoadHealth(ws.Name); err != nil {
						return err
					}
				}
				return a.print(facts, func(w io.Writer) { writeStatus(w, &facts) })
			})
		},
	}
}

func writeStatus(w io.Writer, st *stands) {
	line := "on line"
	if !st.Online {
		line = "off line: " + st.Reason
	}
	fmt.Fprintf(w, "%s, a device of %s with %s: %s\n", st.Device, st.User, st.URL, line)
	fmt.Fprintf(w, "last sync %s; certificate until %s\n", whenEver(st.LastSync), when(st.Expires))
	fmt.Fprintln(w, diskLine(&st.Disk))
	if len(st.Workspaces) == 0 {
		fmt.Fprintln(w, "no workspace is here: satchel sync fetches those that the server has")
	}
	for _, ws := range st.Workspaces {
		ready := "offline-ready"
		if !ws.Ready {
			ready = "not offline-ready: satchel sync " + ws.Name
		}
		if ws.Fill != nil {
			ready = filling(ws.Fill)
		}
		if ws.Suspended {
			ready += ", suspended"
		}
		fmt.Fprintf(w, "\n%s: %s\n", ws.Name, ready)
		table(w, func(w io.Writer) {
			fmt.Fprintln(w, "  LAYER\tKIND\tSTATE\tTO SEND\tTO FETCH")
			for _, l := range ws.Layers {
				state := string(l.Relation)
				if state == "" {
					state = "only here"
				}
				fmt.Fprintf(w, "  %s\t%s\t%s\t%s\t%s\n", l.Name, l.Kind, state, moving(l.Up.Bytes), moving(l.Down.Bytes))
			}
		})
		health := st.Health[ws.Name]
		writeHealth(w, "  ", &health)
	}
}

// filling tells how far a workspace is that runs before all of it is here.
func filling(f *device.Fill) string {
	s := fmt.Sprintf("%.0f %% here, %s to fetch", math.Floor(f.Percent), size(f.Left))
	switch {
	case f.Seconds > 0:
		s += fmt.Sprintf(", offline-ready in about %s at %s/s", time.Duration(f.Seconds*float64(time.Second)).Round(time.Second), size(f.Rate))
	case f.Rate == 0:
		s += "; nothing fetches it just now: satchel sync, or satchel agent"
	}
	return s
}

// moving is a size, or a dash for nothing.
func moving(n int64) string {
	if n == 0 {
		return "-"
	}
	return size(n)
}
