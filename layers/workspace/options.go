package workspace

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"satchel/layers"
)

// Options are what a user may set for a workspace's guest. Zero values leave
// the choice to the program.
type Options struct {
	Memory int64 `json:"memory,omitempty"` // bytes
	CPUs   int   `json:"cpus,omitempty"`
	// Rules go before the built-in rules that sort captured changes into
	// layers, one rule a line, in the form of those.
	Rules []string `json:"rules,omitempty"`
	// Health says when a guest with new versions counts as healthy.
	Health Mark `json:"health,omitzero"`
	// Reset says which layers begin afresh at a start. Kinds that it does not
	// name never do.
	Reset map[layers.Kind]ResetRule `json:"reset,omitempty"`
}

// A Mark is what a guest has to reach to count as healthy.
type Mark struct {
	Within int64  `json:"within,omitempty"` // seconds it may take
	Check  string `json:"check,omitempty"`  // a shell command in the guest: exit status 0 is healthy
	// Runs is for guests without an agent: the mark is that the machine has run
	// for so many seconds.
	Runs int64 `json:"runs,omitempty"`
}

// A ResetRule says when a layer begins afresh.
type ResetRule string

// The rules.
const (
	Never      ResetRule = "never"
	EveryStart ResetRule = "every-start"
	Daily      ResetRule = "daily"      // at the first start of a day
	OnUpgrade  ResetRule = "on-upgrade" // when the os is not that of the last start
)

// Limits of options.
const (
	maxWithin = 24 * 60 * 60 // seconds
	maxCheck  = 4096         // bytes
)

func (o *Options) check() error {
	if o.Memory < 0 || o.CPUs < 0 {
		return errors.New("less than no memory or processors")
	}
	h := o.Health
	switch {
	case h.Within < 0 || h.Within > maxWithin || h.Runs < 0 || h.Runs > maxWithin:
		return errors.New("the time for the health mark is not between 0 and 24 hours")
	case len(h.Check) > maxCheck || strings.ContainsRune(h.Check, 0):
		return fmt.Errorf("the health check is longer than %d bytes, or holds a zero byte", maxCheck)
	case h.Check != "" && h.Runs > 0:
		return errors.New("a health check needs the agent: it does not go with a mark for guests without one")
	}
	for kind, rule := range o.Reset {
		if err := checkReset(kind, rule); err != nil {
			return err
		}
	}
	return nil
}

// checkReset refuses a rule that would lose data, or that means nothing.
func checkReset(kind layers.Kind, rule ResetRule) error {
	if _, err := layers.ParseKind(string(kind)); err != nil {
		return fmt.Errorf("reset rule: %w", err)
	}
	switch rule {
	case Never:
		return nil
	case EveryStart, Daily, OnUpgrade:
	default:
		return fmt.Errorf("reset rule %.40q for %s: want never, every-start, daily or on-upgrade", rule, kind)
	}
	switch {
	case kind == layers.Data:
		return fmt.Errorf("reset rule %q for data: a reset never loses the user's files, so data can only have never", rule)
	case !kind.Writable() && rule != EveryStart:
		return fmt.Errorf("reset rule %q for %s: no guest ever writes to it, so it is as published at every start: want every-start or never", rule, kind)
	}
	return nil
}

// A Start tells when a workspace was last started, and with which os.
type Start struct {
	Time time.Time `json:"time"`
	OS   Pin       `json:"os"`
}

// Due returns the kinds of layers that begin afresh at a start now with that
// os. Last is the start before, nil if none is known. Days are those of now's
// time zone.
func (o *Options) Due(last *Start, os Pin, now time.Time) (due []layers.Kind) {
	for _, kind := range layers.Kinds {
		if !kind.Writable() || kind == layers.Data {
			continue
		}
		is := false
		switch o.Reset[kind] {
		case EveryStart:
			is = true
		case Daily:
			is = last == nil || !sameDay(last.Time, now)
		case OnUpgrade:
			is = last != nil && (last.OS.Layer != os.Layer || last.OS.Version != os.Version)
		}
		if is {
			due = append(due, kind)
		}
	}
	return due
}

func sameDay(a, b time.Time) bool {
	ay, am, ad := a.In(b.Location()).Date()
	by, bm, bd := b.Date()
	return ay == by && am == bm && ad == bd
}
