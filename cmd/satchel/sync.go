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
	var line transfer
	var lazy bool
	c := &cobra.Command{
		Use:   "sync [WORKSPACE]...",
		Short: "Bring this home and the server to the same state",
		Long: `Fetches what is new on the server, merges it with what is new here, and sends
that. Without names, all workspaces of the user are synced; those that are not
here yet are made. Only what the other side lacks is moved. When it is cut off,
the next sync goes on from there.

Where a file was changed on both sides, text is merged line by line; of anything
else both stay, the other one as "NAME (from DEVICE, DATE).EXT".

With --lazy, new versions of os and group layers are taken without their files.
Guests start from them at once and fetch what they need; satchel agent, or the
next sync without --lazy, fetches the rest.`,
		Example: `  satchel sync
  satchel sync --lazy ana
  satchel sync ana --limit-up 500K --limit-down 2M`,
		ValidArgsFunction: a.completeWorkspaces,
		RunE: func(c *cobra.Command, argv []string) error {
			return a.withDevice(&line, func(d *device.Device) error {
				sync := d.Sync
				if lazy {
					sync = d.SyncLazily
				}
				report, err := sync(c.Context(), argv...)
				if printErr := a.print(report, func(w io.Writer) { writeReport(w, &report) }); err == nil {
					err = printErr
				}
				return err
			})
		},
	}
	line.flags(c)
	c.Flags().BoolVar(&lazy, "lazy", false, "take os and group layers before their files are here")
	return c
}

// transfer is how a user wants data to go over the line, as typed.
type transfer struct{ up, down, deltas string }

// plainLine is how verbs that move next to nothing use the line.
func plainLine() *transfer { return &transfer{deltas: string(exchange.Auto)} }

func (t *transfer) flags(c *cobra.Command) {
	c.Flags().StringVar(&t.up, "limit-up", "", "most bytes a second to send, as 500K or 2M (default no limit)")
	c.Flags().StringVar(&t.down, "limit-down", "", "most bytes a second to receive (default no limit)")
	c.Flags().StringVar(&t.deltas, "deltas", string(exchange.Auto), "send changed files as differences: auto (unless the line is fast), always, never")
	_ = c.RegisterFlagCompletionFunc("deltas", cobra.FixedCompletions( // the flag is there
		[]string{string(exchange.Auto), string(exchange.Always), string(exchange.Never)}, cobra.ShellCompDirectiveNoFileComp))
}

// options returns the options of a device that concern the line.
func (t *transfer) options() (o device.Options, err error) {
	if o.LimitUp, err = parseLimit(t.up); err != nil {
		return o, err
	}
	if o.LimitDown, err = parseLimit(t.down); err != nil {
		return o, err
	}
	if o.Deltas, err = exchange.ParseDeltas(t.deltas); err != nil {
		err = usageError{err}
	}
	return o, err
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
func (a *app) withDevice(line *transfer, fn func(*device.Device) error) error {
	opt, err := line.options()
	if err != nil {
		return err
	}
	return a.with(func(h *home) error {
		bar := a.progress("syncing")
		opt.Progress = func(_ string, p exchange.Progress) { bar.set(p.Done, p.Total) }
		d, err := a.device(h, opt)
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

// device opens a home as an enrolled one, with options that concern the line.
func (a *app) device(h *home, opt device.Options) (*device.Device, error) {
	opt.Home, opt.Store, opt.Repo, opt.Workspaces, opt.Note = h.dir, h.store, h.repo, h.workspaces, a.note
	return device.Open(opt)
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
	if len(r.Evicted) > 0 {
		writeOld(w, r.Evicted)
		fmt.Fprintf(w, "%s went to make room: freed %s\n", count(len(r.Evicted), "old version"), size(r.Freed))
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
	if l.Thin {
		add("took, with files still to come,", l.Pulled)
	} else {
		add("fetched", l.Pulled)
	}
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
