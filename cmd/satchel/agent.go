package main

import (
	"errors"
	"io"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"satchel/syncer"
	"satchel/syncer/device"
)

func newAgent(a *app) *cobra.Command {
	var line transfer
	c := &cobra.Command{
		Use:   "agent",
		Short: "Keep this home in sync until told to end",
		Long: `Waits for news of the server and for captures here, and syncs after each. While
the server cannot be reached it tries again, at growing intervals. One agent runs
for a home; satchel sync may be used beside it.

When an assignment says so, it stops a guest that runs older versions than were
assigned, and starts it with those.`,
		Example: `  satchel agent --limit-up 500K
  systemctl --user enable --now satchel-agent`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return a.withDevice(&line, func(d *device.Device) error {
				a.notifySystemd(daemon.SdNotifyReady)
				defer a.notifySystemd(daemon.SdNotifyStopping)
				var w watchword
				s := switcher{app: a, under: map[string]bool{}}
				defer s.done.Wait()
				err := d.Run(c.Context(), func(r device.Report, err error) {
					a.reportSync(&w, r, err)
					s.all(c.Context(), r.Switch)
				})
				if c.Context().Err() != nil {
					return nil // it was told to end
				}
				return err
			})
		},
	}
	line.flags(c)
	return c
}

// A watchword is what an agent last said about being on line, so that it says
// the same only once.
type watchword struct{ said string }

// reportSync tells of one of an agent's syncs, if there is something to tell.
func (a *app) reportSync(last *watchword, r device.Report, err error) {
	now := ""
	if err != nil {
		now = err.Error()
	}
	switch {
	case now == last.said:
	case now == "":
		a.note("in sync again")
	case errors.Is(err, syncer.ErrUnavailable) && last.said != "":
		now = last.said // still off line, for whatever reason
	default:
		a.note("%v", err)
	}
	last.said = now
	moved := len(r.Workspaces) > 0 || len(r.Notes) > 0 || len(r.Evicted) > 0
	for i := range r.Layers {
		moved = moved || layerDone(&r.Layers[i]) != ""
	}
	if moved {
		if err := a.print(r, func(w io.Writer) { writeReport(w, &r) }); err != nil {
			a.note("%v", err)
		}
	}
}
