package session

import (
	"context"
	"fmt"
	"slices"

	"satchel/layers"
	"satchel/layers/repo"
	"satchel/layers/workspace"
)

// resettable lists what a reset without kinds empties: all but the user's files.
var resettable = []layers.Kind{layers.Personal, layers.System, layers.Local}

// Reset gives the workspace's layers of those kinds a new, empty version; no
// kinds mean all writable ones but data. What an earlier session left is
// captured first, so that a rollback can bring that back too.
func (h *Host) Reset(ctx context.Context, name string, kinds []layers.Kind) ([]CapturedLayer, error) {
	if len(kinds) == 0 {
		kinds = resettable
	}
	for _, k := range kinds {
		if !k.Writable() {
			return nil, fmt.Errorf("a guest never writes to layers of kind %s: there is nothing to reset", k)
		}
	}
	def, err := h.Workspaces.Load(name)
	if err != nil {
		return nil, err
	}
	var out []CapturedLayer
	_, err = h.Settle(ctx, name, func() error {
		out, err = h.empty(ctx, name, def, kinds)
		return err
	})
	return out, err
}

func (h *Host) empty(ctx context.Context, name string, def workspace.Definition, kinds []layers.Kind) ([]CapturedLayer, error) {
	w, err := h.Store.Begin(ctx, "reset "+name)
	if err != nil {
		return nil, err
	}
	defer w.Close()
	var commits []repo.Commit
	var out []CapturedLayer
	for _, l := range def.Stack() {
		if !slices.Contains(kinds, l.Kind) {
			continue
		}
		at, err := h.Repo.Resolve(ctx, l.Name)
		if err != nil || at.Head.Version.IsZero() || at.Version.Tree.Entries == 0 {
			continue // empty already
		}
		commits = append(commits, repo.Commit{Head: at.Head, Kind: l.Kind, Message: "reset"})
		out = append(out, CapturedLayer{Kind: l.Kind, Name: l.Name, Changes: int(at.Version.Tree.Entries)})
	}
	ids, err := h.Repo.Commit(ctx, w, commits...)
	for i := range ids {
		out[i].Version = ids[i]
	}
	return out, err
}
