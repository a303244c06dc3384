package main

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"satchel/layers"
	"satchel/layers/workspace"
	"satchel/store"
	"satchel/syncer"
	"satchel/syncer/device"
	"satchel/syncer/publication"
)

// assignment is an assignment as typed.
type assignment struct {
	to, channel, osLayer string
	groups               []string
	landBy, memory       string
	rules                startRules
	publication.Assignment
}

func (t *assignment) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&t.to, "to", "", "whom it is for: group:NAME, user:NAME, device:NAME or all (required)")
	f.StringVar(&t.osLayer, "os", "", "the os layer, as LAYER, LAYER:CHANNEL or LAYER@VERSION (default that of a workspace of this name)")
	f.StringArrayVar(&t.groups, "group", nil, "a group layer, in the same form; later ones lie above earlier ones")
	f.StringVar(&t.channel, "channel", publication.Stable, "the channel of layers that name none")
	f.StringVar(&t.landBy, "land-by", "", "when it has to be there, as 2027-01-31T07:30 or 4h; devices spread what they fetch until then")
	f.StringVar(&t.Switch, "switch", publication.NextStart, "when devices go over: next-start, now, or a time")
	f.StringVar(&t.memory, "memory", "", "memory of the guest, as 2G")
	f.IntVar(&t.Options.CPUs, "cpus", 0, "processors of the guest")
	t.rules.flags(c)
	_ = c.MarkFlagRequired("to") // it is defined above
	_ = c.RegisterFlagCompletionFunc("switch", cobra.FixedCompletions([]string{publication.NextStart, publication.Now}, cobra.ShellCompDirectiveNoFileComp))
}

// parse turns what was typed into an assignment, with what the server has.
func (t *assignment) parse(a *app, c *cobra.Command, name string, log *publication.Log) (err error) {
	t.Workspace, t.To = name, syncer.Principal(t.to)
	if err := workspace.CheckName(name); err != nil {
		return usageError{err}
	}
	if err := t.To.Check(); err != nil {
		return usageError{err}
	}
	if t.memory != "" {
		if t.Options.Memory, err = parseSize(t.memory); err != nil {
			return usageError{err}
		}
	}
	if err := t.rules.apply(c, &t.Options); err != nil {
		return err
	}
	if t.LandBy, err = parseTime(t.landBy); err != nil {
		return err
	}
	if at, err := parseTime(t.Switch); err == nil && !at.IsZero() {
		t.Switch = at.UTC().Format(time.RFC3339)
	}
	var all []syncer.LayerInfo
	if err := a.admin(c.Context(), "GET", "layers", nil, &all); err != nil {
		return err
	}
	if t.osLayer == "" {
		if err := t.same(a, c, all); err != nil {
			return err
		}
	}
	if t.OS, err = t.source(all, log, t.osLayer, layers.OS); err != nil {
		return err
	}
	for _, g := range t.groups {
		s, err := t.source(all, log, g, layers.Group)
		if err != nil {
			return err
		}
		t.Groups = append(t.Groups, s)
	}
	var id [16]byte
	rand.Read(id[:]) // never fails
	t.ID = hex.EncodeToString(id[:])
	return nil
}

// same takes the layers of a workspace of the same name.
func (t *assignment) same(a *app, c *cobra.Command, all []syncer.LayerInfo) error {
	var works []syncer.Workspace
	if err := a.admin(c.Context(), "GET", "workspaces", nil, &works); err != nil {
		return err
	}
	i := slices.IndexFunc(works, func(w syncer.Workspace) bool { return w.Name == t.Workspace })
	if i < 0 {
		return usageError{fmt.Errorf("nobody has a workspace %s yet: say which os layer it is made of with --os", t.Workspace)}
	}
	named := func(id store.LayerID) string {
		for _, l := range all {
			if l.ID == id {
				return l.Name
			}
		}
		return id.String()
	}
	t.osLayer = named(works[i].OS)
	for _, g := range works[i].Groups {
		t.groups = append(t.groups, named(g))
	}
	return nil
}

// source reads LAYER, LAYER:CHANNEL or LAYER@VERSION.
func (t *assignment) source(all []syncer.LayerInfo, log *publication.Log, typed string, kind layers.Kind) (s publication.Source, err error) {
	name, digits, pinned := strings.Cut(typed, "@")
	name, channel, given := strings.Cut(name, ":")
	if !given {
		channel = t.channel
	}
	if s.Layer, err = layerID(all, name, kind); err != nil {
		return s, err
	}
	if !pinned {
		s.Channel = channel
		return s, nil
	}
	for _, p := range log.Published[s.Layer] {
		if digits != "" && strings.HasPrefix(p.Version.String(), strings.ToLower(digits)) && p.Version != s.Version {
			if !s.Version.IsZero() {
				return s, usageError{fmt.Errorf("%s stands for several versions: give more digits", typed)}
			}
			s.Version = p.Version
		}
	}
	if s.Version.IsZero() {
		return s, fmt.Errorf("%s: %w (satchel publisher log lists what was)", typed, publication.ErrUnpublished)
	}
	return s, nil
}

// parseTime reads a time, or how long until then; "" is none.
func parseTime(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(s); err == nil && d > 0 {
		return time.Now().Add(d).UTC().Truncate(time.Second), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02"} {
		if at, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return at.UTC(), nil
		}
	}
	return time.Time{}, usageError{fmt.Errorf("%q is no time: want 2027-01-31T07:30, or how long until then as 4h", s)}
}

func newAdminAssign(a *app) *cobra.Command {
	var t assignment
	c := &cobra.Command{
		Use:   "assign WORKSPACE --to PRINCIPAL [--os LAYER]",
		Short: "Say who has a workspace, made of what, and when devices go over to it",
		Long: `Signs, with this home's publisher's key, that a user, the users of a group, the user
of one device, or all have a workspace of that name. Their devices fetch it, keep
to the channels of its layers, and go over to new versions by themselves. The
users' own layers stay as they are. A later assignment of the same name takes the
place of an earlier one, for those whom both are for.

Devices fetch in the background. With --land-by they spread that over the first
half of the time. See what it would mean first: satchel admin plan.`,
		Example: `  satchel admin assign lab --to group:7b --os debian-12 --group office
  satchel admin assign lab --to device:pc-03 --os debian-12:canary
  satchel admin assign exam --to group:7b --os debian-12@3f0ce1 --land-by 2027-01-31T07:30 --switch now`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, argv []string) error {
			log, err := a.publications(c)
			if err == nil {
				err = t.parse(a, c, argv[0], log)
			}
			if err != nil {
				return err
			}
			return a.withDevice(plainLine(), func(d *device.Device) error {
				e, err := d.Say(c.Context(), publication.Content{Assign: &t.Assignment})
				if err != nil {
					return adviseSigner(err)
				}
				facts := publication.Assigned{Seq: e.Seq, Time: time.Now().UTC().Truncate(time.Second), Assignment: t.Assignment}
				return a.print(facts, func(w io.Writer) { fmt.Fprintf(w, "assignment %s\n", t.ID) })
			})
		},
	}
	t.flags(c)
	return c
}

// publications reads what was published, for an administrator.
func (a *app) publications(c *cobra.Command) (*publication.Log, error) {
	log := &publication.Log{}
	for {
		var page publication.Page
		if err := a.admin(c.Context(), "GET", fmt.Sprintf("publications?from=%d", log.Seq+1), nil, &page); err != nil {
			return nil, err
		}
		if _, err := log.Extend(page.Statements); err != nil {
			return nil, err
		}
		if len(page.Statements) == 0 || log.Seq >= page.Last {
			return log, nil
		}
	}
}

func newAdminUnassign(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "unassign ID",
		Short: "End an assignment; the workspaces that it made stay with their users",
		Long: `Signs that an assignment holds no longer. satchel admin assignments lists their IDs,
of which the first digits are enough.`,
		Example: `  satchel admin unassign 3f0ce1`,
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, argv []string) error {
			log, err := a.publications(c)
			if err != nil {
				return err
			}
			var found []string
			for id := range log.Assignments {
				if strings.HasPrefix(id, strings.ToLower(argv[0])) {
					found = append(found, id)
				}
			}
			if len(found) != 1 {
				return fmt.Errorf("assignment %s: %w", argv[0], errNoSuch)
			}
			return a.say(c, publication.Content{Unassign: &publication.Unassign{ID: found[0]}})
		},
	}
}

func newAdminAssignments(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "assignments",
		Short:   "List what is assigned to whom",
		Example: `  satchel admin assignments`,
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			log, err := a.publications(c)
			if err != nil {
				return err
			}
			var infos []syncer.LayerInfo
			if err := a.admin(c.Context(), "GET", "layers", nil, &infos); err != nil {
				return err
			}
			names := map[store.LayerID]string{}
			for _, l := range infos {
				names[l.ID] = l.Name
			}
			all := []publication.Assigned{}
			for _, as := range log.Assignments {
				all = append(all, as)
			}
			slices.SortFunc(all, func(x, y publication.Assigned) int { return int(x.Seq) - int(y.Seq) })
			return a.print(all, func(w io.Writer) {
				table(w, func(w io.Writer) {
					fmt.Fprintln(w, "ID\tWORKSPACE\tTO\tLAYERS\tLAND BY\tSWITCH")
					for _, as := range all {
						fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", as.ID[:8], as.Workspace, as.To, sources(as.Sources(), names), landing(as.LandBy), as.Switch)
					}
				})
			})
		},
	}
}

func landing(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return when(t)
}

func sources(all []publication.Source, names map[store.LayerID]string) string {
	var parts []string
	for _, s := range all {
		part := names[s.Layer] + ":" + s.Channel
		if s.Channel == "" {
			part = names[s.Layer] + "@" + s.Version.Short()
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, " ")
}

func newAdminPlan(a *app) *cobra.Command {
	var t assignment
	c := &cobra.Command{
		Use:   "plan WORKSPACE --to PRINCIPAL [--os LAYER]",
		Short: "Tell what an assignment would mean, without making it",
		Long: `Takes the flags of satchel admin assign. For each device it tells how much it would
have to fetch from the server at most, as deltas make it less; how much that takes
on its disk, and how much room it said there is; how much stays there for the way
back; and which registries of the guest, such as /etc/passwd, would not take all
changes that the user's layers hold. Sizes are of what is stored, compressed; with
--json, those of files as well.`,
		Example: `  satchel admin plan lab --to group:7b --os debian-12:canary`,
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, argv []string) error {
			log, err := a.publications(c)
			if err == nil {
				err = t.parse(a, c, argv[0], log)
			}
			if err != nil {
				return err
			}
			var plan syncer.Plan
			if err := a.admin(c.Context(), "POST", "plan", t.Assignment, &plan); err != nil {
				return err
			}
			return a.print(plan, func(w io.Writer) { writePlan(w, &plan) })
		},
	}
	t.flags(c)
	return c
}

func writePlan(w io.Writer, p *syncer.Plan) {
	for _, l := range p.Layers {
		fmt.Fprintf(w, "%s %s to %s\n", l.Kind, l.Name, l.Version.Short())
	}
	table(w, func(w io.Writer) {
		fmt.Fprintln(w, "DEVICE\tUSER\tTO FETCH\tON ITS DISK\tROOM THERE\tKEPT FOR THE WAY BACK\tCONFLICTS")
		for _, d := range p.Devices {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%d\n", d.Device, d.User, moving(d.Moved), moving(d.Space), roomOf(&d), moving(d.RollbackSpace), len(d.Conflicts))
		}
	})
	for _, d := range p.Devices {
		if d.Lacking > 0 {
			fmt.Fprintf(w, "%s: %s more than it has room for: old versions have to go there, or its budget has to be raised\n", d.Device, size(d.Lacking))
		}
		for _, x := range d.Conflicts {
			fmt.Fprintf(w, "%s: %s: %s: %s\n", d.Device, x.Layer, x.Path, x.Reason)
		}
	}
	fmt.Fprintf(w, "%s, at most %s to fetch in all (%s before compression)\n", count(len(p.Devices), "device"), size(p.Moved), size(p.Bytes))
}

// roomOf tells how much may be added on a device's disk.
func roomOf(d *syncer.PlannedDevice) string {
	switch {
	case d.Room == nil:
		return "unknown"
	case *d.Room <= 0:
		return "none"
	}
	return size(*d.Room)
}

func newAdminRollouts(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "rollouts",
		Short:   "Tell how far publications in waves have come, and why they stopped",
		Example: `  satchel admin rollouts`,
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			all := []syncer.RolloutInfo{}
			if err := a.admin(c.Context(), "GET", "rollouts", nil, &all); err != nil {
				return err
			}
			return a.print(all, func(w io.Writer) {
				table(w, func(w io.Writer) {
					fmt.Fprintln(w, "NUMBER\tLAYER\tCHANNEL\tVERSION\tWAVES\tOPEN\tHEALTHY\tFAILED\tSTOPPED")
					for _, r := range all {
						fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%d%%\t%d of %d\t%d\t%s\n", r.Seq, r.Layer, r.Channel, r.Version.Short(),
							percents(r.Waves), r.Open, r.Healthy, r.Devices, len(r.Failed), r.Stopped)
					}
				})
				for _, r := range all {
					for _, f := range r.Failed {
						fmt.Fprintf(w, "%s: %s %s: %s (%s)\n", f.Device, r.Layer, r.Version.Short(), f.Reason, when(f.Time))
					}
				}
			})
		},
	}
}

func newAdminReports(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "reports",
		Short:   "Tell what devices have said of their workspaces",
		Example: `  satchel admin reports --json`,
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			all := []syncer.Report{}
			if err := a.admin(c.Context(), "GET", "reports", nil, &all); err != nil {
				return err
			}
			return a.print(all, func(w io.Writer) {
				table(w, func(w io.Writer) {
					fmt.Fprintln(w, "DEVICE\tUSER\tHEARD\tWORKSPACE\tVERSIONS\tSTATE")
					for _, r := range all {
						for _, ws := range r.Workspaces {
							fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", r.Device, r.User, when(r.Time), ws.Name, uses(ws.Layers), readiness(&ws))
						}
					}
				})
				for _, r := range all {
					if r.Disk != nil && r.Disk.Lacking > 0 {
						fmt.Fprintf(w, "%s: %s: it takes %s more on its disk\n", r.Device, r.Disk.Reason, size(r.Disk.Lacking))
					}
				}
			})
		},
	}
}

func uses(all []syncer.LayerUse) string {
	var parts []string
	for _, l := range all {
		parts = append(parts, l.Version.Short())
	}
	return strings.Join(parts, " ")
}

func readiness(w *syncer.WorkspaceReport) string {
	switch healthy := func(l syncer.LayerUse) bool { return l.Healthy }; {
	case !w.Ready:
		return "not there yet"
	case slices.ContainsFunc(w.Layers, healthy):
		return "healthy"
	}
	return "offline-ready"
}
