package exchange

import (
	"context"
	"fmt"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"satchel/layers"
	"satchel/layers/manifest"
	"satchel/store"
	"satchel/syncer"
)

// idSet is a set of chunks.
type idSet map[store.ID]struct{}

func (s idSet) has(id store.ID) bool {
	_, ok := s[id]
	return ok
}

// add reports whether the chunk was not in the set.
func (s idSet) add(id store.ID) bool {
	if s.has(id) {
		return false
	}
	s[id] = struct{}{}
	return true
}

// rootsOf returns the roots of a version's trees.
func rootsOf(v layers.Version) []layers.Root {
	roots := make([]layers.Root, 0, 2)
	for _, root := range []layers.Root{v.Tree, v.Base} {
		if root.Entries > 0 {
			roots = append(roots, root)
		}
	}
	return roots
}

// nodesOf calls visit with the nodes of a version's trees, each once, those
// above before those below.
func nodesOf(ctx context.Context, g store.Getter, v layers.Version, visit func(store.ID)) error {
	seen := idSet{}
	for _, root := range rootsOf(v) {
		err := manifest.Nodes(ctx, g, root, func(id store.ID, _ int) bool {
			if !seen.add(id) {
				return false
			}
			visit(id)
			return true
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// nodesOfAll returns the nodes of versions that are complete.
func nodesOfAll(ctx context.Context, g store.Getter, versions []store.ID) (idSet, error) {
	nodes := idSet{}
	for _, id := range versions {
		v, err := manifest.ReadVersion(ctx, g, id)
		if err != nil {
			return nil, err
		}
		if err := nodesOf(ctx, g, v, func(id store.ID) { nodes.add(id) }); err != nil {
			return nil, fmt.Errorf("version %s: %w", id.Short(), err)
		}
	}
	return nodes, nil
}

// A named is a manifest chunk's size and what it names.
type named struct {
	manifest.Refs
	size int64
}

// read reads manifest chunks that are in the store.
func read(ctx context.Context, g store.Getter, ids []store.ID) ([]named, error) {
	refs := make([]named, len(ids))
	eg, ctx := errgroup.WithContext(ctx)
	eg.SetLimit(runtime.GOMAXPROCS(0))
	for i, id := range ids {
		eg.Go(func() error {
			b, err := g.Get(ctx, id)
			if err != nil {
				return fmt.Errorf("read manifest: %w", err)
			}
			refs[i].size = int64(len(b))
			if refs[i].Refs, err = manifest.ParseRefs(b); err != nil {
				return fmt.Errorf("read manifest %s: %w", id.Short(), err)
			}
			return nil
		})
	}
	return refs, eg.Wait()
}

// descend goes through what lies below the roots of a version's trees, those
// above before those below, and fetches manifest chunks that are missing. It
// leaves out what is in held. Where an older version's chunks are in the same
// places, and are complete here, those that are missing may come as deltas.
func (f *fetcher) descend(ctx context.Context, v layers.Version, held idSet, older *lineage, found func(context.Context, manifest.Refs) error) error {
	var level []store.ID
	seen := idSet{}
	meet := func(id store.ID) {
		if !held.has(id) && seen.add(id) {
			level = append(level, id)
		}
	}
	for _, root := range rootsOf(v) {
		meet(root.ID)
	}
	for len(level) > 0 {
		this := level
		level = nil
		named := idSet{}
		for at := 0; at < len(this); at += window {
			n := min(window, len(this)-at)
			refs, err := f.manifests(ctx, this[at:at+n], older.part(at, n, len(this)))
			if err != nil {
				return err
			}
			for _, r := range refs {
				for _, id := range r.Below {
					named.add(id)
					meet(id)
				}
				if err := found(ctx, r.Refs); err != nil {
					return err
				}
			}
		}
		if err := older.below(ctx, named); err != nil {
			return err
		}
	}
	return nil
}

// manifests returns what manifest chunks name. It fetches those that the store
// lacks, as deltas from older ones if it can.
func (f *fetcher) manifests(ctx context.Context, ids, older []store.ID) ([]named, error) {
	has, err := f.w.Has(context.WithoutCancel(ctx), ids)
	if err != nil {
		return nil, err
	}
	var here []store.ID
	var away []piece
	place := make(map[store.ID]int, len(ids))
	for i, id := range ids {
		place[id] = i
		if has[i] {
			here = append(here, id)
		} else {
			away = append(away, piece{id: id})
		}
	}
	refs := make([]named, len(ids))
	local, err := read(ctx, f.st, here)
	if err != nil {
		return nil, err
	}
	for i, id := range here {
		refs[place[id]] = local[i]
	}
	take := func(id store.ID, chunk []byte) error {
		parsed, err := manifest.ParseRefs(chunk)
		if err != nil {
			return fmt.Errorf("manifest %s: %w: %w", id.Short(), syncer.ErrManifest, err)
		}
		refs[place[id]] = named{parsed, int64(len(chunk))}
		f.meter.moved(0, int64(len(chunk)), 0)
		return nil
	}
	if err := f.requests(ctx, besides(older, away), take); err != nil {
		return nil, err
	}
	away = slices.DeleteFunc(away, func(p piece) bool { return refs[place[p.id]].size > 0 })
	if len(away) == 0 {
		return refs, nil
	}
	return refs, f.fetch(ctx, away, take)
}
