package exchange

import (
	"context"
	"fmt"
	"slices"

	"satchel/layers"
	"satchel/layers/manifest"
	"satchel/store"
)

// A needs tells what one version after another consists of, beyond those it was
// asked about before and those it was told of.
type needs struct {
	get    store.Getter
	known  idSet // manifest chunks that were told already, or need not be
	recent recent
	// beside, if not nil, is told new manifest chunks and the older ones, of
	// versions that are complete where it goes, in whose place they are.
	beside func(older []store.ID, newer []piece)
}

func newNeeds(g store.Getter) *needs {
	return &needs{get: g, known: idSet{}, recent: recent{}}
}

// skip has what a version's nodes are left out.
func (n *needs) skip(ctx context.Context, version store.ID) error {
	v, err := manifest.ReadVersion(ctx, n.get, version)
	if err != nil {
		return err
	}
	return nodesOf(ctx, n.get, v, func(id store.ID) { n.known.add(id) })
}

// version tells emit what a version consists of: contents, then manifest chunks,
// those below before those above, then its record. What the olds, versions that
// are complete where it goes, have in the same places is left out. Some chunks
// may be told several times.
func (n *needs) version(ctx context.Context, id store.ID, olds []store.ID, emit func(context.Context, []piece) error) error {
	record, err := n.get.Get(ctx, id)
	if err != nil {
		return fmt.Errorf("read version %s: %w", id.Short(), err)
	}
	v, err := manifest.ReadVersion(ctx, n.get, id)
	if err != nil {
		return err
	}
	d, err := n.compare(ctx, v, olds)
	if err != nil {
		return fmt.Errorf("version %s: %w", id.Short(), err)
	}
	var manifests []piece
	for len(d.fresh) > 0 {
		pieces, err := n.level(ctx, d, emit)
		if err != nil {
			return fmt.Errorf("version %s: %w", id.Short(), err)
		}
		manifests = append(manifests, pieces...)
	}
	slices.Reverse(manifests)
	return emit(ctx, append(manifests, piece{id, int64(len(record))}))
}

// A difference is what only the new or only the old trees have: their nodes,
// then the lists that these name, then the lists that those name.
type difference struct {
	fresh, stale []store.ID
	old          idSet // what stale manifest chunks named
}

// compare begins with the nodes.
func (n *needs) compare(ctx context.Context, v layers.Version, olds []store.ID) (*difference, error) {
	d := &difference{old: idSet{}}
	all := idSet{}
	err := nodesOf(ctx, n.get, v, func(id store.ID) {
		all.add(id)
		if n.known.add(id) {
			d.fresh = append(d.fresh, id)
		}
	})
	if err != nil {
		return nil, err
	}
	for _, id := range olds {
		old, err := manifest.ReadVersion(ctx, n.get, id)
		if err != nil {
			return nil, err
		}
		err = nodesOf(ctx, n.get, old, func(id store.ID) {
			if d.old.add(id) && !all.has(id) {
				d.stale = append(d.stale, id)
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return d, nil
}

// level looks at the fresh manifest chunks, tells what files' contents they name,
// returns them, and puts those that they name in their place.
func (n *needs) level(ctx context.Context, d *difference, emit func(context.Context, []piece) error) ([]piece, error) {
	stale, err := n.stale(ctx, d)
	if err != nil {
		return nil, err
	}
	fresh, place := d.fresh, d.stale
	pieces := make([]piece, 0, len(fresh))
	named := idSet{}
	d.fresh, d.stale = nil, nil
	for w := range slices.Chunk(fresh, window) {
		refs, err := read(ctx, n.get, w)
		if err != nil {
			return nil, err
		}
		var contents []piece
		for i, r := range refs {
			pieces = append(pieces, piece{w[i], r.size})
			for j, id := range r.Contents {
				if !d.old.has(id) && n.recent.add(id) {
					contents = append(contents, piece{id, r.Sizes[j]})
				}
			}
			for _, id := range r.Below {
				named.add(id)
				if !d.old.has(id) && n.known.add(id) {
					d.fresh = append(d.fresh, id)
				}
			}
		}
		if err := emit(ctx, contents); err != nil {
			return nil, err
		}
	}
	if n.beside != nil {
		n.beside(place, pieces)
	}
	d.stale = slices.DeleteFunc(stale, named.has)
	return pieces, nil
}

// stale notes what the stale manifest chunks name, and returns those of it that
// are manifest chunks and were not met before.
func (n *needs) stale(ctx context.Context, d *difference) ([]store.ID, error) {
	var below []store.ID
	contents := 0
	for w := range slices.Chunk(d.stale, window) {
		refs, err := read(ctx, n.get, w)
		if err != nil {
			return nil, err
		}
		for _, r := range refs {
			for _, id := range r.Below {
				if d.old.add(id) {
					below = append(below, id)
				}
			}
			if contents += len(r.Contents); contents <= recentIDs {
				for _, id := range r.Contents {
					d.old.add(id)
				}
			}
		}
	}
	return below, nil
}
