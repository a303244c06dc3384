package disk

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"satchel/store"
	"satchel/store/heads"
)

// reachPage is how many chunks are looked up at once.
const reachPage = 1 << 12

// reach walks from all heads and leases and looks for what is not there.
func (v *scrub) reach(ctx context.Context, walk store.Walker) error {
	state, err := v.store.heads.State(ctx)
	if err != nil {
		return err
	}
	candidates, err := v.store.index.Candidates(ctx)
	if err != nil {
		return err
	}
	m := newMarks(candidates)
	for _, r := range named(state) {
		err := walk(ctx, r.Version, m.visit)
		if err == nil {
			continue
		}
		if ctx.Err() != nil || !isCorrupt(err) && !errors.Is(err, store.ErrNotExist) {
			return fmt.Errorf("walk %s at %s: %w", r.Layer, r.Version.Short(), err)
		}
		now, stateErr := v.store.heads.State(ctx)
		if stateErr != nil {
			return stateErr
		}
		if slices.Contains(now.Roots(), r.Version) { // else it was removed meanwhile, and gc came
			r.Reason = err.Error()
			v.res.Heads = append(v.res.Heads, r)
		}
	}
	v.res.Reached = m.count()
	if err := v.missing(ctx, m); err != nil || len(v.res.Missing) == 0 {
		return err
	}
	return v.toCome(ctx, walk)
}

// toCome takes what thin versions reach off the list of what is missing. A walk
// goes on to their histories, so what those lack is told of only when the
// versions are thin no more.
func (v *scrub) toCome(ctx context.Context, walk store.Walker) error {
	thin, err := v.store.heads.Thin(ctx)
	if err != nil {
		return err
	}
	missing := make(map[store.ID]struct{}, len(v.res.Missing))
	for _, id := range v.res.Missing {
		missing[id] = struct{}{}
	}
	met := map[store.ID]struct{}{}
	for version := range thin {
		err := walk(ctx, version, func(id store.ID) bool {
			if _, ok := met[id]; ok {
				return false
			}
			met[id] = struct{}{}
			delete(missing, id)
			return true
		})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		_ = err // the walk from the heads has told of it
	}
	before := len(v.res.Missing)
	v.res.Missing = slices.DeleteFunc(v.res.Missing, func(id store.ID) bool { _, ok := missing[id]; return !ok })
	v.res.ToCome = int64(before - len(v.res.Missing))
	return nil
}

// named returns all roots with what people call them.
func named(s heads.State) []HeadDamage {
	var roots []HeadDamage
	for _, h := range s.Heads {
		if !h.Version.IsZero() {
			roots = append(roots, HeadDamage{Layer: h.Name, Version: h.Version})
		}
	}
	for _, l := range s.Leases {
		for _, id := range l.Roots {
			roots = append(roots, HeadDamage{Layer: l.Purpose, Version: id})
		}
	}
	return roots
}

// missing looks up what was reached but was not in the index when the walk
// began: a writer may have added it since.
func (v *scrub) missing(ctx context.Context, m *marks) error {
	ids := make([]store.ID, 0, len(m.others))
	for id := range m.others {
		ids = append(ids, id)
	}
	for len(ids) > 0 {
		n := min(len(ids), reachPage)
		entries, err := v.store.index.Lookup(ctx, ids[:n])
		if err != nil {
			return err
		}
		for i, e := range entries {
			if !e.Found {
				v.res.Missing = append(v.res.Missing, ids[i])
			}
		}
		ids = ids[n:]
	}
	return nil
}
