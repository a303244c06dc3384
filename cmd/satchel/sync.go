package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"satchel/store"
	"satchel/syncer/device"
	"satchel/syncer/exchange"
)

func newSync(a *app) *cobra.Command {
	var limits bandwidth
	c := &cobra.Command{
		Use:   "sync [WORKSPACE]...",
		Short: "Bring this home and the server to the same state",
		Long: `Fetches what is new on the server, merges it with what is new here, and sends
that. Without names, all workspaces of the user are synced; those that are not
here yet are made. Only what the other side lacks is moved. When it is cut off,
the next sync goes on from there.

Where a file was changed on both sides, text is merged line by line; of anything
else both stay, the other one as "NAME (from DEVICE, DATE).EXT".`,
		Example: `  satchel sync
  satchel sync ana --limit-up 500K --limit-down 2M`,
		ValidArgsFunction: a.completeWorkspaces,
		RunE: func(c *cobra.Command, argv []string) error {
			return a.withDevice(&limits, func(d *device.Device) error {
				report, err := d.Sync(c.Context(), argv...)
				if printErr := a.print(report, func(w io.Writer) { writeReport(w, &report) }); err == nil {
					err = printErr
				}
				return err
			})
		},
	}
	limits.flags(c)
	return c
}

// bandwidth is the limits that a user sets, as typed.
type bandwidth struct{ up, down string }

func (b *bandwidth) flags(c *cobra.Command) {
	c.Flags().StringVar(&b.up, "limit-up", "", "most bytes a second to send, as 500K or 2M (default no limit)")
	c.Flags().StringVar(&b.down, "limit-down", "", "most bytes a second to receive (default no limit)")
}

func (b *bandwidth) parse() (up, down int64, err error) {
	if up, err = parseLimit(b.up); err == nil {
		down, err = parseLimit(b.down)
	}
	return up, down, err
}

func parseLimit(s string) (int64, error) {
	if s == "" || s == "0" {
		return 0, nil
	}
	n, err := parseSize(s)
	if err != nil {
		return 0, usageError{err}
	}
	return n, nil
}

// withDevice opens the home as an enrolled one for the length of fn.
func (a *app) withDevice(limits *bandwidth, fn func(*device.Device) error) error {
	up, down, err := limits.parse()
	if err != nil {
		return err
	}
	return a.with(func(h *home) error {
		bar := a.progress("syncing")
		d, err := device.Open(device.Options{
			Home: h.dir, Store: h.store, Repo: h.repo, Workspaces: h.workspaces,
			LimitUp: up, LimitDown: down, Note: a.note,
			Progress: func(_ string, p exchange.Progress) { bar.set(p.Done, p.Total) },
		})
		if errors.Is(err, device.ErrNotEnrolled) {
			return fmt.Errorf("%w (first: satchel enrol, with a token from the server's administrator)", err)
		}
		if err != nil {
			return err
		}
		defer d.Close() //nolint:errcheck // only idle connections are closed
		defer bar.done()
		return fn(d)
	})
}

func writeReport(w io.Writer, r *device.Report) {
	for _, name := range r.Workspaces {
		fmt.Fprintf(w, "workspace %s was brought up to date\n", name)
	}
	for i := range r.Layers {
		writeLayerReport(w, &r.Layers[i])
	}
	for _, note := range r.Notes {
		fmt.Fprintln(w, note)
	}
	fmt.Fprintf(w, "%s in sync after %.1f s; sent %s, received %s\n", count(inSync(r), "layer"), r.Seconds, size(r.Traffic.Up), size(r.Traffic.Down))
}

func writeLayerReport(w io.Writer, l *device.LayerReport) {
	if done := layerDone(l); done != "" {
		fmt.Fprintf(w, "%s: %s\n", l.Name, done)
	}
	for _, c := range l.Conflicts {
		fmt.Fprintf(w, "  %s: %s\n", c.Path, c.Reason)
	}
	if l.Note != "" {
		fmt.Fprintf(w, "  %s\n", l.Note)
	}
}

// count is a number of things in words.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// layerDone says what was done with a layer, or nothing.
func layerDone(l *device.LayerReport) string {
	what := ""
	add := func(verb string, id store.ID) {
		if !id.IsZero() {
			if what != "" {
				what += ", "
			}
			what += verb + " " + id.Short()
		}
	}
	add("fetched", l.Pulled)
	add("merged into", l.Merged)
	add("sent", l.Pushed)
	if l.Error != "" {
		return "failed: " + l.Error
	}
	return what
}

func inSync(r *device.Report) (n int) {
	for _, l := range r.Layers {
		if l.Error == "" {
			n++
		}
	}
	return n
}
