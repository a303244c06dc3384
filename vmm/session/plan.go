package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"satchel/layers"
	"satchel/layers/repo"
	"satchel/layers/workspace"
	"satchel/store"
)

// plan decides of which versions a start composes the workspace, and whether
// that is a trial, for which it returns one. It notes the trial down, makes the
// layers afresh whose rules ask for that, and keeps the versions from gc until
// the returned function is called. No session may be running or uncaptured.
func (h *Host) plan(ctx context.Context, def workspace.Definition, opt Options) (versions []workspace.Pin, t *trial, unhold func() error, err error) {
	heads, err := h.current(ctx, def)
	if err != nil {
		return nil, nil, nil, err
	}
	if err := h.ready(ctx, def.Name, heads, opt); err != nil {
		return nil, nil, nil, err
	}
	now := time.Now()
	var due []layers.Kind
	started := func(rec *workspace.Health) { rec.Last = &workspace.Start{Time: now.UTC(), OS: systemOf(versions)} }
	err = h.Workspaces.UpdateHealth(def.Name, func(rec *workspace.Health) error {
		versions = rec.Chosen(heads, now)
		due = def.Options.Due(rec.Last, systemOf(versions), now)
		if rec.Begin(versions, own(heads), now.UTC()) {
			t = newTrial(def.Options.Health, rec)
		}
		if len(due) == 0 { // else those first
			started(rec)
		}
		return nil
	})
	if err != nil {
		return nil, nil, nil, err
	}
	h.tellChoice(heads, versions)
	if len(due) > 0 {
		heads, err = h.afresh(ctx, def, due)
		if err == nil {
			err = h.Workspaces.UpdateHealth(def.Name, func(rec *workspace.Health) error { started(rec); return nil })
		}
	}
	if err == nil {
		versions = append(workspace.Public(versions), own(heads)...)
		unhold, err = h.Store.Hold(ctx, "run "+def.Name, roots(versions)...)
	}
	if err != nil && t != nil {
		err = errors.Join(err, h.noVerdict(def.Name))
	}
	return versions, t, unhold, err
}

// afresh resets layers for a start, and returns the heads that there are then.
func (h *Host) afresh(ctx context.Context, def workspace.Definition, kinds []layers.Kind) ([]workspace.Pin, error) {
	if _, err := h.empty(ctx, def.Name, def, kinds); err != nil {
		return nil, fmt.Errorf("reset at start: %w", err)
	}
	return h.current(ctx, def)
}

// ready brings the health record to where a choice can be made: marks that are
// to be forgotten are, a good version that is gone is no way back, and a trial
// that took the host down again and again has failed.
func (h *Host) ready(ctx context.Context, name string, heads []workspace.Pin, opt Options) error {
	rec, err := h.Workspaces.LoadHealth(name)
	if err != nil {
		return err
	}
	here, err := h.here(ctx, rec.Good)
	if err != nil || here && !opt.RetryFailed && !rec.Exhausted(rec.Chosen(heads, time.Now())) {
		return err
	}
	exhausted := false
	err = h.Workspaces.UpdateHealth(name, func(rec *workspace.Health) error {
		if opt.RetryFailed {
			rec.Retry(heads)
		}
		if !here {
			h.note("versions that %s was well with are not in this store any more: there is no way back to them", name)
			rec.Good, rec.Since = nil, time.Time{}
		}
		if exhausted = rec.Exhausted(rec.Chosen(heads, time.Now())); exhausted {
			rec.Trial.Reason = fmt.Sprintf("%d starts ended without a verdict: the host or what runs the guest went down", rec.Trial.Starts)
		}
		return nil
	})
	if err != nil || !exhausted {
		return err
	}
	return h.conclude(ctx, name)
}

func (h *Host) here(ctx context.Context, pins []workspace.Pin) (bool, error) {
	has, err := h.Store.Has(ctx, roots(pins))
	return !slices.Contains(has, false), err
}

func systemOf(versions []workspace.Pin) workspace.Pin {
	i := slices.IndexFunc(versions, func(p workspace.Pin) bool { return p.Kind == layers.OS })
	if i < 0 {
		return workspace.Pin{Kind: layers.OS}
	}
	return versions[i]
}

// own returns the pins of the workspace's own layers.
func own(pins []workspace.Pin) (out []workspace.Pin) {
	for _, p := range pins {
		if p.Kind.Writable() {
			out = append(out, p)
		}
	}
	return out
}

// tellChoice tells what is composed in the place of heads that failed.
func (h *Host) tellChoice(heads, chosen []workspace.Pin) {
	for _, p := range heads {
		if p.Kind.Writable() || slices.Contains(chosen, p) {
			continue
		}
		instead := "nothing"
		for _, c := range workspace.Public(chosen) {
			if c.Layer == p.Layer || c.Kind == layers.OS && p.Kind == layers.OS {
				instead = c.Name + "@" + c.Version.Short()
			}
		}
		h.note("%s@%s failed here before: starting with %s (satchel run --retry-failed tries it again)", p.Name, p.Version.Short(), instead)
	}
}

// conclude does what follows from a trial that has failed: the workspace's own
// layers but data go back to what they were before it, and its versions are
// marked. It can be done again after a crash at any point. Without good
// versions there is nothing to go back to, and the layers stay.
func (h *Host) conclude(ctx context.Context, name string) error {
	rec, err := h.Workspaces.LoadHealth(name)
	if err != nil || rec.Trial == nil || rec.Trial.Reason == "" {
		return err
	}
	if len(rec.Good) > 0 {
		if err := h.goBack(ctx, name, rec.Trial.Before); err != nil {
			return fmt.Errorf("go back to what %s was before the failed start: %w", name, err)
		}
	}
	return h.Workspaces.UpdateHealth(name, func(rec *workspace.Health) error {
		rec.Fail(time.Now().UTC())
		return nil
	})
}

// goBack commits what layers held at earlier versions, all of them together.
func (h *Host) goBack(ctx context.Context, name string, to []workspace.Pin) error {
	w, err := h.Store.Begin(ctx, "go back "+name)
	if err != nil {
		return err
	}
	defer w.Close()
	for range maxTries {
		var commits []repo.Commit
		for _, pin := range to {
			if !slices.Contains(resettable, pin.Kind) {
				continue
			}
			head, err := h.Store.Heads().Head(ctx, pin.Layer)
			if errors.Is(err, store.ErrNotExist) {
				continue // it was removed since
			}
			if err != nil {
				return err
			}
			if head.Version == pin.Version {
				continue
			}
			was, err := h.Repo.Side(ctx, pin.Version)
			if err != nil {
				return err
			}
			commits = append(commits, repo.Commit{Head: head, Kind: pin.Kind, Tree: was.Tree, Base: was.Base, Message: "before the start that failed"})
		}
		if _, err = h.Repo.Commit(ctx, w, commits...); !errors.Is(err, store.ErrMoved) {
			break
		}
	}
	return err
}
