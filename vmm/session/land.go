package session

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"satchel/layers"
	"satchel/layers/decompose"
	"satchel/layers/merge/trees"
	"satchel/layers/repo"
	"satchel/layers/workspace"
	"satchel/store"
)

// maxTries bounds how often a capture starts over because a head has moved
// while it was at work.
const maxTries = 5

// A landing brings what a session wrote to one layer to where the layer's head
// is. A capture must not undo the work of others, and must not fail for ever
// either.
//
// A session has a line of versions in each layer: the one that it was composed
// from, and for each capture that brought something new, that one's tree with
// all that the session wrote so far. As long as nothing else moves the head,
// the line's newest is the head. Once something has, the line goes on beside
// it, and each capture merges its newest with the head, three ways: the
// ancestor is the newest of the line that is in the head's history. What was
// merged once is in there, so doing it again finds nothing to do.
type landing struct {
	pin  workspace.Pin
	head store.Head
	last store.ID // of the session's line, the newest in the head's history
	own  decompose.Result
}

// landings finds out where each layer that the session wrote to has to land.
func (h *Host) landings(ctx context.Context, rec *workspace.Session, s *stack, out decompose.Output) ([]landing, error) {
	var all []landing
	for i, pin := range s.versions {
		if !pin.Kind.Writable() {
			continue
		}
		head, err := h.Store.Heads().Head(ctx, pin.Layer)
		if err != nil {
			return nil, fmt.Errorf("layer %s: %w", pin.Name, err)
		}
		last, err := h.last(ctx, rec, pin, head)
		if err != nil {
			return nil, fmt.Errorf("layer %s: %w", pin.Name, err)
		}
		own, changed := out.Layers[pin.Kind]
		if !changed {
			if last == pin.Version {
				continue
			}
			// What an earlier capture put there, the session took back.
			own = decompose.Result{Tree: s.layers[i].Tree, Base: s.layers[i].Base}
		}
		all = append(all, landing{pin, head, last, own})
	}
	return all, nil
}

// last returns the newest version of the session's line that is in the head's
// history. Versions that a capture noted down and then could not move the head
// to are not in there. Merged ones, which have two parents, are not of the line.
func (h *Host) last(ctx context.Context, rec *workspace.Session, pin workspace.Pin, head store.Head) (store.ID, error) {
	own := map[store.ID]bool{}
	for _, p := range rec.Captured {
		if p.Layer == pin.Layer {
			own[p.Version] = true
		}
	}
	if len(own) == 0 || head.Version == pin.Version {
		return pin.Version, nil
	}
	for entry, err := range h.Repo.Log(ctx, head) {
		if err != nil {
			return store.ID{}, err
		}
		if own[entry.ID] && len(entry.Version.Parents) < 2 {
			return entry.ID, nil
		}
	}
	return pin.Version, nil
}

// land asks for the layer's new version, or returns nil when there is nothing
// new, and tells of what was merged. Of a merge, own is the version of the
// session's line that goes into it.
func (h *Host) land(ctx context.Context, w store.Writer, l landing, message string) (c *repo.Commit, own store.ID, notes []string, err error) {
	c = &repo.Commit{Head: l.head, Kind: l.pin.Kind, Tree: l.own.Tree, Base: l.own.Base, Message: message}
	if l.head.Version == l.last {
		return c, own, nil, nil
	}
	ancestor, err := h.Repo.Side(ctx, l.last)
	if err != nil || same(ancestor, c.Tree, c.Base) {
		return nil, own, nil, err
	}
	c.Parents = []store.ID{}
	if !l.last.IsZero() {
		c.Parents = []store.ID{l.last}
	}
	beside, err := h.Repo.Stage(ctx, w, *c) // and never moved to
	if err != nil {
		return nil, own, nil, err
	}
	own = beside.Versions[0]
	// The session's work is the newest there is: it keeps its names.
	ours, err1 := h.Repo.Side(ctx, own)
	theirs, err2 := h.Repo.Side(ctx, l.head.Version)
	if err := errors.Join(err1, err2); err != nil {
		return nil, own, nil, err
	}
	merged, err := h.Repo.Merge(ctx, w, ancestor, ours, theirs)
	if err != nil || same(theirs, merged.Tree, merged.Base) {
		return nil, own, nil, err
	}
	c.Tree, c.Base, c.Parents = merged.Tree, merged.Base, []store.ID{l.head.Version, own}
	return c, own, l.tell(merged.Conflicts), nil
}

// tell tells people what a merge did.
func (l landing) tell(conflicts []trees.Conflict) []string {
	notes := []string{fmt.Sprintf("layer %s was moved to %s meanwhile: the session's changes were merged with that", l.pin.Name, l.head.Version.Short())}
	for _, x := range conflicts {
		note := fmt.Sprintf("layer %s: %q: %s", l.pin.Name, x.Path, x.Reason)
		if x.Kept != "" {
			note += fmt.Sprintf("; the other one is now %q", x.Kept)
		}
		notes = append(notes, note)
	}
	return notes
}

// same reports whether a side has that tree and base.
func same(s trees.Side, tree, base layers.Tree) bool {
	equal := func(a, b layers.Entry) bool { return a.Path == b.Path && a.Same(&b) }
	return slices.EqualFunc(s.Tree, tree, equal) && slices.EqualFunc(s.Base, base, equal)
}
