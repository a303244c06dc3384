package main

import (
	"context"
	"errors"
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
	States map[string]string           `json:"states"` // the same; as workspace ls tells them
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
before compression; what the home takes of the disk is told as it is. Without a connection it goes by what was last heard.
A home that belongs to no server tells of its workspaces and of its disk.`,
		Example: `  satchel status
  satchel status --json`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return a.with(func(h *home) error {
				st, err := h.status(c, a)
				if err != nil {
					return err
				}
				return a.print(st, func(w io.Writer) { writeStatus(w, &st) })
			})
		},
	}
}

// status tells how the home stands, with a server or alone.
func (h *home) status(c *cobra.Command, a *app) (st stands, err error) {
	st = stands{Health: map[string]workspace.Health{}, States: map[string]string{}}
	d, err := a.device(h, device.Options{Deltas: exchange.Auto})
	switch {
	case errors.Is(err, device.ErrNotEnrolled):
		st.Status, err = h.statusAlone(c.Context())
	case err == nil:
		defer d.Close() //nolint:errcheck // only idle connections are closed
		st.Status, err = d.Status(c.Context())
	}
	if err != nil {
		return st, err
	}
	for i := range st.Workspaces {
		ws := &st.Workspaces[i]
		if st.Health[ws.Name], err = h.workspaces.LoadHealth(ws.Name); err != nil {
			return st, err
		}
		if st.States[ws.Name], err = h.state(c, ws.Name); err != nil {
			return st, err
		}
		ws.Suspended = st.States[ws.Name] == string(workspace.Suspended)
	}
	return st, nil
}

// statusAlone is how a home stands that belongs to no server.
func (h *home) statusAlone(ctx context.Context) (st device.Status, err error) {
	st = device.Status{Reason: device.ErrNotEnrolled.Error(), Workspaces: []device.WorkspaceStatus{}}
	if st.Disk, err = device.DiskOf(h.dir); err != nil {
		return st, err
	}
	names, err := h.workspaces.List()
	if err != nil {
		return st, err
	}
	for _, name := range names {
		def, err := h.workspaces.Load(name)
		if err != nil {
			return st, err
		}
		head, err := h.store.Heads().Head(ctx, def.OS.ID)
		if err != nil {
			return st, err
		}
		st.Workspaces = append(st.Workspaces, device.WorkspaceStatus{Name: name, Ready: !head.Version.IsZero(), Layers: []device.LayerStatus{}})
	}
	return st, nil
}

func writeStatus(w io.Writer, st *stands) {
	if st.alone() {
		fmt.Fprintln(w, "this home belongs to no server (satchel enrol joins one)")
	} else {
		line := "on line"
		if !st.Online {
			line = "off line: " + st.Reason
		}
		fmt.Fprintf(w, "%s, a device of %s with %s: %s\n", st.Device, st.User, st.URL, line)
		fmt.Fprintf(w, "last sync %s; certificate until %s\n", whenEver(st.LastSync), when(st.Expires))
	}
	fmt.Fprintln(w, diskLine(&st.Disk))
	switch {
	case len(st.Workspaces) > 0:
	case st.alone():
		fmt.Fprintln(w, "no workspace is here: satchel workspace create makes one")
	default:
		fmt.Fprintln(w, "no workspace is here: satchel sync fetches those that the server has")
	}
	for _, ws := range st.Workspaces {
		fmt.Fprintf(w, "\n%s: %s\n", ws.Name, st.line(&ws))
		if len(ws.Layers) > 0 {
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
		}
		health := st.Health[ws.Name]
		writeHealth(w, "  ", &health)
	}
}

// alone reports a home that belongs to no server.
func (st *stands) alone() bool { return st.URL == "" }

// line tells how a workspace is.
func (st *stands) line(ws *device.WorkspaceStatus) string {
	state := st.States[ws.Name]
	switch {
	case ws.Fill != nil:
		return filling(ws.Fill) + "; " + state
	case ws.Ready && st.alone():
		return state
	case ws.Ready:
		return "offline-ready, " + state
	case st.alone():
		return "without an operating system: satchel layer import --kind os NAME SOURCE"
	}
	return "not offline-ready: satchel sync " + ws.Name + "; " + state
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
