package session

import (
	"context"
	"errors"
	"slices"
	"time"

	"satchel/layers/workspace"
	"satchel/store"
)

// Outdated reports whether a running session of the workspace was composed of
// other os and group layers than its next start would be.
func (h *Host) Outdated(ctx context.Context, name string) (bool, error) {
	rec, err := h.Workspaces.LoadSession(name)
	if errors.Is(err, store.ErrNotExist) {
		return false, nil
	}
	if err != nil || !rec.Alive() {
		return false, err
	}
	def, err := h.Workspaces.Load(name)
	if err != nil {
		return false, err
	}
	heads, err := h.current(ctx, def)
	if err != nil {
		return false, err
	}
	health, err := h.Workspaces.LoadHealth(name)
	if err != nil {
		return false, err
	}
	next := workspace.Public(health.Chosen(heads, time.Now()))
	now := workspace.Public(rec.Composed)
	same := func(a, b workspace.Pin) bool { return a.Layer == b.Layer && a.Version == b.Version }
	return !slices.EqualFunc(next, now, same), nil
}
