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
	next, err := h.next(ctx, def, false)
	return err == nil && !slices.EqualFunc(workspace.Public(next), workspace.Public(rec.Composed), samePin), err
}

// next returns the versions that a start would choose now, lowest first; retry
// is [Options.RetryFailed].
func (h *Host) next(ctx context.Context, def workspace.Definition, retry bool) ([]workspace.Pin, error) {
	heads, err := h.current(ctx, def)
	if err != nil {
		return nil, err
	}
	health, err := h.Workspaces.LoadHealth(def.Name)
	if err != nil {
		return nil, err
	}
	if retry {
		health.Retry(heads)
	}
	return health.Chosen(heads, time.Now()), nil
}

// samePin compares what counts of pins: names change.
func samePin(a, b workspace.Pin) bool { return a.Layer == b.Layer && a.Version == b.Version }
