package session

import (
	"context"
	"fmt"
	"slices"

	"satchel/layers/decompose"
	"satchel/layers/manifest"
	"satchel/layers/repo"
	"satchel/layers/workspace"
	"satchel/store"
)

// A foundation is what a capture builds on: the session's stack, but with each
// writable layer as it would be without the session. Mostly that is what the
// session was composed from. When something else has moved the layer's head
// meanwhile, it is what that left there: then the session's changes are made
// to that, path by path, since a capture must not undo the work of others, and
// must not fail for ever either.
type foundation struct {
	*stack
	heads    map[store.LayerID]store.Head
	versions map[store.LayerID]store.ID // without the session
	notes    []string
}

// found reads the heads of the session's writable layers and what lies under
// the versions that earlier captures of the session put there.
func (h *Host) found(ctx context.Context, rec *workspace.Session, s *stack) (*foundation, error) {
	own := *s
	own.layers = slices.Clone(s.layers)
	f := &foundation{stack: &own, heads: map[store.LayerID]store.Head{}, versions: map[store.LayerID]store.ID{}}
	for i, pin := range s.versions {
		if !pin.Kind.Writable() {
			continue
		}
		head, err := h.Store.Heads().Head(ctx, pin.Layer)
		if err != nil {
			return nil, fmt.Errorf("layer %s: %w", pin.Name, err)
		}
		under, err := h.under(ctx, rec, head)
		if err != nil {
			return nil, fmt.Errorf("layer %s: %w", pin.Name, err)
		}
		f.heads[pin.Layer], f.versions[pin.Layer] = head, under
		if under == pin.Version {
			continue
		}
		f.notes = append(f.notes, fmt.Sprintf("layer %s was moved to %s during the session: the session's changes were made to that", pin.Name, under.Short()))
		pin.Version = under
		if own.layers[i], err = h.loadLayer(ctx, pin); err != nil {
			return nil, fmt.Errorf("read layer %s: %w", pin.Name, err)
		}
	}
	return f, nil
}

// under is the newest version in a layer's history that is not of the session.
func (h *Host) under(ctx context.Context, rec *workspace.Session, head store.Head) (store.ID, error) {
	id := head.Version
	for slices.ContainsFunc(rec.Captured, func(p workspace.Pin) bool { return p.Layer == head.Layer && p.Version == id }) {
		version, err := manifest.ReadVersion(ctx, h.Store, id)
		if err != nil {
			return id, err
		}
		if len(version.Parents) == 0 {
			return store.ID{}, nil
		}
		id = version.Parents[0]
	}
	return id, nil
}

// commits asks for new versions of the layers that changed. A layer in which an
// earlier capture put what is gone by now gets its foundation back.
func (f *foundation) commits(out decompose.Output, message string) []repo.Commit {
	var commits []repo.Commit
	for i, pin := range f.stack.versions {
		head, writable := f.heads[pin.Layer]
		if !writable {
			continue
		}
		result, changed := out.Layers[pin.Kind]
		if !changed {
			if head.Version == f.versions[pin.Layer] {
				continue
			}
			result = decompose.Result{Tree: f.layers[i].Tree, Base: f.layers[i].Base}
		}
		commits = append(commits, repo.Commit{Head: head, Kind: pin.Kind, Tree: result.Tree, Base: result.Base, Message: message})
	}
	return commits
}
