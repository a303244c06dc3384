package workspace

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"satchel/store"
	"satchel/store/durable"
)

// The format of health records and its version.
const (
	healthFormat  = "satchel health"
	healthVersion = 1
)

type healthOnDisk struct {
	durable.Header
	Health
}

// LoadHealth reads the health record of a workspace, which is empty before its
// first start. It fails with [store.ErrNewer] or [store.ErrCorrupt].
func (s *Set) LoadHealth(name string) (Health, error) {
	if err := CheckName(name); err != nil {
		return Health{}, err
	}
	var rec healthOnDisk
	err := durable.ReadJSON(s.healthPath(name), durable.Header{Format: healthFormat, Version: healthVersion}, &rec)
	if errors.Is(err, store.ErrNotExist) {
		return Health{}, nil
	}
	if err == nil {
		if err = rec.check(); err != nil {
			err = fmt.Errorf("%w: %w", err, store.ErrCorrupt)
		}
	}
	if err != nil {
		return Health{}, fmt.Errorf("health of workspace %s: %w", name, err)
	}
	return rec.Health, nil
}

// UpdateHealth changes the health record of a workspace, durably. No other
// update comes in between.
func (s *Set) UpdateHealth(name string, change func(*Health) error) error {
	if _, err := s.Load(name); err != nil {
		return err // before a lock is made for what is not there
	}
	return s.locked(func() error {
		rec, err := s.LoadHealth(name)
		if err != nil {
			return err
		}
		if err := change(&rec); err != nil {
			return err
		}
		if err = rec.check(); err == nil {
			err = durable.WriteJSON(s.healthPath(name), healthOnDisk{durable.Header{Format: healthFormat, Version: healthVersion}, rec})
		}
		if err != nil {
			return fmt.Errorf("health of workspace %s: %w", name, err)
		}
		return nil
	})
}

func (s *Set) healthPath(name string) string { return filepath.Join(s.Dir(name), healthFile) }

// Kept returns the versions that all workspaces' health records name: those to
// go back to, and those on trial. Gc must keep them, whatever heads say.
func (s *Set) Kept() (ids []store.ID, err error) {
	err = s.records(func(_ string, rec *Health) {
		for _, p := range rec.kept() {
			if !p.Version.IsZero() {
				ids = append(ids, p.Version)
			}
		}
	})
	return ids, err
}

// KeptFor lists the workspaces whose health records name versions of a layer
// that must be kept.
func (s *Set) KeptFor(layer store.LayerID) (names []string, err error) {
	err = s.records(func(name string, rec *Health) {
		if at(rec.kept(), layer) >= 0 {
			names = append(names, name)
		}
	})
	return names, err
}

func (h *Health) kept() []Pin {
	if h.Trial == nil {
		return h.Good
	}
	return slices.Concat(h.Good, h.Trial.Versions, h.Trial.Before)
}

func (s *Set) records(visit func(name string, rec *Health)) error {
	names, err := s.List()
	if err != nil {
		return err
	}
	for _, name := range names {
		rec, err := s.LoadHealth(name)
		if err != nil {
			return err
		}
		visit(name, &rec)
	}
	return nil
}

// An Outcome is what a start showed of a version.
type Outcome string

// The outcomes.
const (
	Good    Outcome = "good"
	OnTrial Outcome = "trial"
	Failed  Outcome = "failed"
)

// A Verdict tells what is known of one version of an os or group layer in one
// workspace.
type Verdict struct {
	Workspace string `json:"workspace"`
	Pin
	Outcome Outcome   `json:"outcome"`
	Reason  string    `json:"reason,omitempty"` // why it failed
	Time    time.Time `json:"time"`
	Told    bool      `json:"told,omitempty"` // a failure that the server knows of
}

// Verdicts returns all that is known of versions in a workspace: the good ones,
// those on trial, and those that failed, the oldest first.
func (s *Set) Verdicts(name string) ([]Verdict, error) {
	rec, err := s.LoadHealth(name)
	if err != nil {
		return nil, err
	}
	var out []Verdict
	for _, p := range rec.Good {
		out = append(out, Verdict{Workspace: name, Pin: p, Outcome: Good, Time: rec.Since})
	}
	if rec.Trial != nil {
		for _, p := range rec.Trial.Versions {
			out = append(out, Verdict{Workspace: name, Pin: p, Outcome: OnTrial, Time: rec.Trial.Began})
		}
	}
	for _, f := range rec.Failed {
		out = append(out, Verdict{Workspace: name, Pin: f.Pin, Outcome: Failed, Reason: f.Reason, Time: f.Time, Told: f.Told})
	}
	return out, nil
}

// MarkTold notes that the server knows of those failures of a workspace. One
// that has been made again since is another, and stays untold.
func (s *Set) MarkTold(name string, told []Verdict) error {
	return s.UpdateHealth(name, func(rec *Health) error {
		for i, f := range rec.Failed {
			if slices.ContainsFunc(told, func(v Verdict) bool { return versionOf(v.Pin) == versionOf(f.Pin) && v.Time.Equal(f.Time) }) {
				rec.Failed[i].Told = true
			}
		}
		return nil
	})
}
