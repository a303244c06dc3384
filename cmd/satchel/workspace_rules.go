package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"satchel/layers"
	"satchel/layers/workspace"
	"satchel/store"
)

// startRules are the flags that say what holds for a workspace's starts.
type startRules struct {
	reset        map[string]string
	within, runs time.Duration
	check        string
}

func (r *startRules) flags(c *cobra.Command) {
	c.Flags().StringToStringVar(&r.reset, "reset", nil, "KIND=RULE: never, every-start, daily or on-upgrade")
	c.Flags().DurationVar(&r.within, "health-within", 0, "how long the guest may take to be healthy (0: 5m, or 20m under emulation)")
	c.Flags().StringVar(&r.check, "health-check", "", "shell command in the guest that says whether it is healthy")
	c.Flags().DurationVar(&r.runs, "health-runs", 0, "for guests without the agent: how long the machine has to run")
	var words []string
	for _, kind := range []layers.Kind{layers.Personal, layers.System, layers.Local} {
		for _, rule := range []workspace.ResetRule{workspace.Never, workspace.EveryStart, workspace.Daily, workspace.OnUpgrade} {
			words = append(words, string(kind)+"="+string(rule))
		}
	}
	completeWords(c, "reset", words...)
}

// apply changes what the command line says.
func (r *startRules) apply(c *cobra.Command, o *workspace.Options) error {
	if c.Flags().Changed("health-within") {
		o.Health.Within = int64(r.within / time.Second)
	}
	if c.Flags().Changed("health-check") {
		o.Health.Check = r.check
	}
	if c.Flags().Changed("health-runs") {
		o.Health.Runs = int64(r.runs / time.Second)
	}
	if r.within%time.Second != 0 || r.runs%time.Second != 0 {
		return usageError{fmt.Errorf("want whole seconds for --health-within and --health-runs")}
	}
	o.Reset = maps.Clone(o.Reset)
	for name, rule := range r.reset {
		kind, err := layers.ParseKind(name)
		if err != nil {
			return usageError{err}
		}
		if o.Reset == nil {
			o.Reset = map[layers.Kind]workspace.ResetRule{}
		}
		o.Reset[kind] = workspace.ResetRule(rule)
		if rule == string(workspace.Never) {
			delete(o.Reset, kind)
		}
	}
	return nil
}

// writeOptions tells what holds for the workspace's starts, if anything does.
func writeOptions(w io.Writer, o *workspace.Options) {
	for _, kind := range layers.Kinds {
		if rule, ok := o.Reset[kind]; ok {
			fmt.Fprintf(w, "reset: %s %s\n", kind, rule)
		}
	}
	var mark []string
	if o.Health.Within > 0 {
		mark = append(mark, "within "+(time.Duration(o.Health.Within)*time.Second).String())
	}
	if o.Health.Check != "" {
		mark = append(mark, fmt.Sprintf("check %q", o.Health.Check))
	}
	if o.Health.Runs > 0 {
		mark = append(mark, "runs "+(time.Duration(o.Health.Runs)*time.Second).String())
	}
	if len(mark) > 0 {
		fmt.Fprintf(w, "health: %s\n", strings.Join(mark, ", "))
	}
}

// writeHealth tells with which versions the guest was well, and with which not.
func writeHealth(w io.Writer, indent string, health *workspace.Health) {
	if len(health.Good) > 0 {
		fmt.Fprintf(w, "%sgood: %s, since %s\n", indent, versionNames(health.Good), when(health.Since))
	}
	if t := health.Trial; t != nil {
		verdict := "no verdict yet"
		if t.Reason != "" {
			verdict = "failed: " + oneLine(t.Reason)
		}
		fmt.Fprintf(w, "%strial: %s, begun %s: %s\n", indent, versionNames(t.Versions), when(t.Began), verdict)
	}
	for _, f := range slices.Backward(health.Failed) {
		fmt.Fprintf(w, "%sfailed: %s, %s: %s\n", indent, versionNames([]workspace.Pin{f.Pin}), when(f.Time), oneLine(f.Reason))
	}
}

func versionNames(pins []workspace.Pin) string {
	var names []string
	for _, p := range pins {
		if p.Version == (store.ID{}) {
			names = append(names, "without "+p.Name)
			continue
		}
		names = append(names, p.Name+"@"+p.Version.Short())
	}
	return strings.Join(names, ", ")
}

// oneLine puts a reason of several lines into one: how it begins, and how it
// ends.
func oneLine(reason string) string {
	first, rest, more := strings.Cut(strings.TrimSpace(reason), "\n")
	if !more {
		return first
	}
	rest = strings.TrimSpace(rest)
	return first + " … " + rest[strings.LastIndexByte(rest, '\n')+1:]
}
