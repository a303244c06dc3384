// Package adopt carries the layers of a store over into another domain.
//
// # Vocabulary
//
// A run is a stretch of a file from one hole to the next. A home that joins a
// server's domain has its layers adopted: every chunk of it gets another name.
//
// # Invariants
//
//   - Nothing is changed in the store that layers come from, so that what was
//     cut off can start over with a new one.
//   - A tree in the new store is that of the old one, byte for byte, and its
//     contents are cut as an import into the new store would cut them.
//   - Heads appear last, all at once, after all they reach is durable.
//
// # The one idea
//
// Contents are the only thing that takes time, so each distinct run is read and
// cut once, whichever files, versions and layers it is in. Trees and records
// are written anew around that, those of parents first.
package adopt

import (
	"context"
	"fmt"
	"slices"

	"satchel/layers"
	"satchel/layers/manifest"
	"satchel/layers/repo"
	"satchel/store"
	"satchel/store/disk"
)

// Adopt copies all layers with their histories from one store to an empty one
// of another domain: contents are cut and named anew, layers keep their IDs and
// names, versions all that they say. It returns the new name of each version.
//
// Of a partial version, the trees are where the new domain cannot be computed:
// in another server's store. Its new record has empty trees, and is noted as
// partial again, so that nobody takes it for a version without files.
//
// Progress, which may be nil, is called with how many bytes of distinct contents
// are done, by one goroutine at a time. Memory is bounded by the largest tree,
// and some hundred bytes for each run.
func Adopt(ctx context.Context, from, to *disk.Store, progress func(done, total int64)) (map[store.ID]store.ID, error) {
	heads, err := from.Heads().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("adopt layers: %w", err)
	}
	var roots []store.ID
	for _, h := range heads {
		if !h.Version.IsZero() {
			roots = append(roots, h.Version)
		}
	}
	release, err := from.Hold(ctx, "adopt layers", roots...)
	if err != nil {
		return nil, fmt.Errorf("adopt layers: %w", err)
	}
	defer release() //nolint:errcheck // the lease ends with the process at the latest
	w, err := to.Begin(ctx, "adopt layers")
	if err != nil {
		return nil, fmt.Errorf("adopt layers: %w", err)
	}
	defer w.Close()
	thin, err := from.Heads().Thin(ctx)
	if err != nil {
		return nil, fmt.Errorf("adopt layers: %w", err)
	}
	for id := range thin {
		return nil, fmt.Errorf("adopt layers: version %s %w: satchel sync fetches the rest", id.Short(), repo.ErrThin)
	}
	partial, err := from.Heads().Partial(ctx)
	if err != nil {
		return nil, fmt.Errorf("adopt layers: %w", err)
	}
	a := &adoption{
		from: from, to: w, partial: partial, contents: newContents(ctx, from, w, to.Domain(), progress),
		versions: map[store.ID]store.ID{}, trees: map[store.ID]layers.Root{},
	}
	if err := a.layers(ctx, heads, to.Heads()); err != nil {
		return nil, fmt.Errorf("adopt layers: %w", err)
	}
	return a.versions, nil
}

type adoption struct {
	from     store.Getter
	to       store.Writer
	partial  map[store.ID]struct{} // versions
	contents *contents
	versions map[store.ID]store.ID    // new names by old ones
	trees    map[store.ID]layers.Root // new roots by old ones
}

// A past is one layer's history in the old store.
type past struct {
	head    store.Head
	order   []store.ID // parents first
	records map[store.ID]layers.Version
}

// rank is that of the layer's kind; a layer without a version comes first.
func (p *past) rank() int { return p.records[p.head.Version].Kind.Rank() }

// layers adopts all layers and has their heads appear.
func (a *adoption) layers(ctx context.Context, from []store.Head, to store.Heads) error {
	pasts := make([]past, len(from))
	for i, h := range from {
		var err error
		if pasts[i], err = readPast(ctx, a.from, h); err != nil {
			return fmt.Errorf("layer %q: %w", h.Name, err)
		}
	}
	// What lies on versions of an os layer names them, so those come first.
	slices.SortStableFunc(pasts, func(p, q past) int { return p.rank() - q.rank() })
	if err := a.measure(ctx, pasts); err != nil {
		return err
	}
	var moves []store.Move
	for _, p := range pasts {
		partial, err := a.past(ctx, p)
		if err != nil {
			return fmt.Errorf("layer %q: %w", p.head.Name, err)
		}
		if !p.head.Version.IsZero() {
			moves = append(moves, store.Move{Layer: p.head.Layer, To: a.versions[p.head.Version], Partial: partial})
		}
	}
	if err := a.to.Flush(ctx); err != nil {
		return err
	}
	for _, h := range from {
		if _, err := to.Add(ctx, h.Layer, h.Name); err != nil {
			return err
		}
	}
	return to.CompareAndSwap(ctx, moves...)
}

// readPast reads the records of a layer's versions.
func readPast(ctx context.Context, g store.Getter, head store.Head) (past, error) {
	p := past{head: head, records: map[store.ID]layers.Version{}}
	done := map[store.ID]bool{}
	for todo := []store.ID{head.Version}; len(todo) > 0; {
		id := todo[len(todo)-1]
		if done[id] || id.IsZero() {
			todo = todo[:len(todo)-1]
			continue
		}
		if _, entered := p.records[id]; entered { // its parents are done
			todo = todo[:len(todo)-1]
			done[id] = true
			p.order = append(p.order, id)
			continue
		}
		v, err := manifest.ReadVersion(ctx, g, id)
		if err != nil {
			return past{}, err
		}
		p.records[id] = v
		todo = append(todo, v.Parents...)
	}
	return p, nil
}

// measure finds out how much there is to do.
func (a *adoption) measure(ctx context.Context, pasts []past) error {
	seen := map[store.ID]bool{}
	for _, p := range pasts {
		for _, id := range p.order {
			if _, partial := a.partial[id]; partial {
				continue
			}
			for _, root := range []layers.Root{p.records[id].Tree, p.records[id].Base} {
				if seen[root.ID] {
					continue
				}
				seen[root.ID] = true
				tree, err := manifest.ReadTree(ctx, a.from, root)
				if err != nil {
					return fmt.Errorf("layer %q: %w", p.head.Name, err)
				}
				a.contents.expect(tree)
			}
		}
	}
	a.contents.report(0)
	return nil
}

// past adopts a layer's versions and returns which of the new ones are partial.
func (a *adoption) past(ctx context.Context, p past) (partial []store.ID, err error) {
	for _, id := range p.order {
		if _, done := a.versions[id]; done {
			continue
		}
		v := p.records[id]
		_, recordOnly := a.partial[id]
		if a.versions[id], err = a.version(ctx, v, recordOnly); err != nil {
			return nil, fmt.Errorf("version %s: %w", id.Short(), err)
		}
		if recordOnly {
			partial = append(partial, a.versions[id])
		}
	}
	return partial, nil
}

// version adopts one version, whose parents are.
func (a *adoption) version(ctx context.Context, v layers.Version, recordOnly bool) (id store.ID, err error) {
	parents := make([]store.ID, len(v.Parents))
	for i, p := range v.Parents {
		parents[i] = a.versions[p]
	}
	v.Parents = parents
	if on, ok := a.versions[v.On]; ok { // else its os layer is not here
		v.On = on
	}
	if recordOnly {
		v.Tree, v.Base = layers.Root{}, layers.Root{}
		return manifest.WriteVersion(ctx, a.to, v)
	}
	if v.Tree, err = a.tree(ctx, v.Tree); err != nil {
		return id, err
	}
	if v.Base, err = a.tree(ctx, v.Base); err != nil {
		return id, err
	}
	return manifest.WriteVersion(ctx, a.to, v)
}

// tree adopts a tree. Versions often share one, as after a rollback.
func (a *adoption) tree(ctx context.Context, root layers.Root) (layers.Root, error) {
	if done, ok := a.trees[root.ID]; ok {
		return done, nil
	}
	tree, err := manifest.ReadTree(ctx, a.from, root)
	if err != nil {
		return layers.Root{}, err
	}
	if err := a.contents.adopt(tree); err != nil {
		return layers.Root{}, err
	}
	done, err := manifest.WriteTree(ctx, a.to, tree)
	if err != nil {
		return layers.Root{}, fmt.Errorf("write tree: %w", err)
	}
	a.trees[root.ID] = done
	return done, nil
}
