package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"satchel/layers"
	"satchel/layers/manifest"
	"satchel/store"
	"satchel/syncer"
)

// Limits of a push.
const (
	maxVersions = 100_000 // between the head and the version pushed
	maxEntries  = 8 << 20 // of one tree
	maxMissing  = 4096    // IDs that a refusal lists
	maxForget   = 1 << 20 // uploads forgotten by one push; others go when they are old
	checkBatch  = 4096    // IDs asked for at a time
)

// A check looks at all that a push brings. It reads manifests as a
// [store.Getter] that hands out only those that the device may see.
type check struct {
	server *Server
	info   syncer.LayerInfo
	writer store.Writer
	view   *view

	mu        sync.Mutex          // guards what follows
	manifests map[prefix]store.ID // that were handed out and the layer did not reach before
	uploaded  []store.ID          // as the registry notes them
	missing   []store.ID
}

// push checks a push of a version to a head that is at req.From.
func (c *check) push(ctx context.Context, req syncer.PushRequest) error {
	versions, err := c.versions(ctx, req)
	if err != nil {
		return verdict(err)
	}
	for _, id := range versions {
		if err := c.version(ctx, id); err != nil {
			return verdict(err)
		}
	}
	for batch := range batches(c.manifests) {
		if err := c.present(ctx, batch); err != nil {
			return err
		}
	}
	if len(c.missing) > 0 {
		return &syncer.MissingError{IDs: c.missing}
	}
	return c.trees(ctx, versions)
}

// versions returns the versions that the layer's history does not hold yet, and
// checks that they are of the layer and descend from its head.
func (c *check) versions(ctx context.Context, req syncer.PushRequest) ([]store.ID, error) {
	var versions []store.ID
	met := map[store.ID]bool{}
	descends := req.From.IsZero()
	for todo := []store.ID{req.To}; len(todo) > 0; {
		id := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		descends = descends || id == req.From
		if met[id] || c.view.own.versions.has(id) {
			continue
		}
		if len(versions) == maxVersions {
			return nil, fmt.Errorf("more than %d versions: %w", maxVersions, syncer.ErrTooLarge)
		}
		met[id] = true
		versions = append(versions, id)
		v, err := manifest.ReadVersion(ctx, c, id)
		if err != nil {
			return nil, err
		}
		if v.Layer != c.info.ID || v.Kind != c.info.Kind {
			return nil, fmt.Errorf("version %s is of layer %s and kind %s: %w", id.Short(), v.Layer, v.Kind, syncer.ErrManifest)
		}
		if slices.ContainsFunc(v.Parents, store.ID.IsZero) {
			return nil, fmt.Errorf("version %s has a parent without ID: %w", id.Short(), syncer.ErrManifest)
		}
		todo = append(todo, v.Parents...)
	}
	if !descends {
		return nil, syncer.ErrNotDescendant
	}
	return versions, nil
}

// version checks one version, but for what its layer reaches already.
func (c *check) version(ctx context.Context, id store.ID) error {
	return manifest.Verify(ctx, c, id, c.view.own.manifests.has, func(ids []store.ID) error {
		sees, uploaded, err := c.view.sees(ctx, asContents, ids)
		if err != nil {
			return err
		}
		var ask []store.ID
		for i, id := range ids {
			switch {
			case !sees[i]:
				c.miss(id)
			case uploaded[i]:
				c.forget(noted(asContents, id))
				fallthrough
			default:
				ask = append(ask, id)
			}
		}
		return c.present(ctx, ask)
	})
}

// present notes which chunks the store lacks. The writer keeps the others.
func (c *check) present(ctx context.Context, ids []store.ID) error {
	has, err := c.writer.Has(ctx, ids)
	if err != nil {
		return damaged(err)
	}
	for i, id := range ids {
		if !has[i] {
			c.miss(id)
		}
	}
	return nil
}

// Get returns a manifest that the device may see.
func (c *check) Get(ctx context.Context, id store.ID) ([]byte, error) {
	if !c.view.own.manifest(id) && !c.handedOut(id) {
		sees, uploaded, err := c.view.sees(ctx, asManifest, []store.ID{id})
		if err != nil {
			return nil, err
		}
		if !sees[0] {
			return nil, c.lacking(id)
		}
		if uploaded[0] {
			c.forget(noted(asManifest, id))
		}
		c.handOut(id)
	}
	b, err := c.server.store.Get(ctx, id)
	if errors.Is(err, store.ErrNotExist) {
		return nil, c.lacking(id)
	}
	if err != nil {
		return nil, damaged(err)
	}
	return b, nil
}

func (c *check) handOut(id store.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.manifests[prefixOf(id)] = id
}

func (c *check) handedOut(id store.ID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.manifests[prefixOf(id)]
	return ok
}

// lacking is the error for a manifest without which the check cannot go on. It
// says the same whether the store has it or not.
func (c *check) lacking(id store.ID) error {
	c.miss(id)
	c.mu.Lock()
	defer c.mu.Unlock()
	return &syncer.MissingError{IDs: slices.Clone(c.missing)}
}

func (c *check) miss(id store.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.missing) < maxMissing {
		c.missing = append(c.missing, id)
	}
}

func (c *check) forget(name store.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.uploaded) < maxForget {
		c.uploaded = append(c.uploaded, name)
	}
}

// trees reads the trees of the versions from end to end, those too that Verify
// passed over in parts: what is shared with older versions may stand in the
// wrong place here. Trees of many versions are often the same, and read once.
func (c *check) trees(ctx context.Context, versions []store.ID) error {
	done := map[layers.Root]bool{}
	for _, id := range versions {
		v, err := manifest.ReadVersion(ctx, c, id)
		if err != nil {
			return verdict(err)
		}
		for _, root := range []layers.Root{v.Tree, v.Base} {
			if done[root] {
				continue
			}
			if err := c.tree(ctx, root); err != nil {
				return fmt.Errorf("version %s: %w", id.Short(), verdict(err))
			}
			done[root] = true
		}
	}
	return nil
}

func (c *check) tree(ctx context.Context, root layers.Root) error {
	if root.Entries > maxEntries {
		return fmt.Errorf("tree of %d entries: %w", root.Entries, syncer.ErrTooLarge)
	}
	// For each tree anew, so that a push of a long history lets others by.
	if err := c.server.checks.Acquire(ctx, 1); err != nil {
		return fmt.Errorf("wait for other pushes: %w", context.Cause(ctx))
	}
	defer c.server.checks.Release(1)
	t, err := manifest.ReadTree(ctx, c, root)
	if err != nil {
		return err
	}
	counted := layers.Root{ID: root.ID, Entries: int64(len(t))}
	for i := range t {
		if t[i].Type == layers.Regular {
			counted.Files++
			counted.Bytes += t[i].Size
		}
	}
	if counted != root {
		return fmt.Errorf("tree %s of %d entries, %d files, %d bytes claims %d, %d, %d: %w", root.ID.Short(),
			counted.Entries, counted.Files, counted.Bytes, root.Entries, root.Files, root.Bytes, syncer.ErrManifest)
	}
	return nil
}

// verdict makes what cannot be read as a manifest an error of who pushed it.
func verdict(err error) error {
	missing := (*syncer.MissingError)(nil)
	if !errors.As(err, &missing) && (errors.Is(err, store.ErrCorrupt) || errors.Is(err, store.ErrNewer)) {
		return fmt.Errorf("%w: %w", syncer.ErrManifest, err)
	}
	return err
}

// batches yields the IDs of a set, many at a time.
func batches(set map[prefix]store.ID) func(yield func([]store.ID) bool) {
	return func(yield func([]store.ID) bool) {
		batch := make([]store.ID, 0, checkBatch)
		for _, id := range set {
			if batch = append(batch, id); len(batch) < checkBatch {
				continue
			}
			if !yield(batch) {
				return
			}
			batch = batch[:0]
		}
		if len(batch) > 0 {
			yield(batch)
		}
	}
}
