package session

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"satchel/layers"
	"satchel/layers/compose"
	"satchel/layers/manifest"
	"satchel/layers/workspace"
	"satchel/store"
)

// A stack is a workspace's layers, each at one version, and what they compose to.
type stack struct {
	versions []workspace.Pin
	layers   []compose.Layer
	store    store.Getter
	whole    *compose.Result
	below    map[layers.Kind]*compose.Result // by kind: what lies under that layer, once undercut
	rules    []string                        // the workspace's own, for decompose
}

// current names the layers of a workspace at their heads.
func (h *Host) current(ctx context.Context, def workspace.Definition) ([]workspace.Pin, error) {
	var out []workspace.Pin
	for _, l := range def.Stack() {
		head, err := h.Store.Heads().Head(ctx, l.ID)
		if err != nil {
			return nil, fmt.Errorf("layer %s of workspace %s: %w", l.Name, def.Name, err)
		}
		out = append(out, workspace.Pin{Kind: l.Kind, Layer: l.ID, Name: l.Name, Version: head.Version})
	}
	return out, nil
}

// hold names the layers of a workspace at the versions that a start would
// compose, and keeps them from gc until the returned function is called.
func (h *Host) hold(ctx context.Context, def workspace.Definition) ([]workspace.Pin, func() error, error) {
	versions, err := h.current(ctx, def)
	if err != nil {
		return nil, nil, err
	}
	health, err := h.Workspaces.LoadHealth(def.Name)
	if err != nil {
		return nil, nil, err
	}
	versions = health.Chosen(versions, time.Now())
	release, err := h.Store.Hold(ctx, "run "+def.Name, roots(versions)...)
	return versions, release, err
}

// load reads the versions' trees and composes them.
func (h *Host) load(ctx context.Context, def workspace.Definition, versions []workspace.Pin) (*stack, error) {
	if d, err := h.diskOf(ctx, versions); err != nil {
		return nil, err
	} else if d != nil {
		return nil, fmt.Errorf("workspace %s runs the disk of layer %s: %w", def.Name, d.os.Name, errDiskForm)
	}
	s := &stack{versions: versions, store: h.contents(), below: map[layers.Kind]*compose.Result{}, rules: def.Options.Rules}
	s.layers = make([]compose.Layer, len(versions))
	var wg sync.WaitGroup
	errs := make([]error, len(versions))
	for i, v := range versions {
		wg.Go(func() { s.layers[i], errs[i] = h.loadLayer(ctx, v) })
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("read layer %s: %w", versions[i].Name, err)
		}
	}
	var err error
	s.whole, err = compose.Compose(ctx, h.contents(), s.layers)
	return s, err
}

// loadHeld is load for versions that gc keeps until the function is called.
func (h *Host) loadHeld(ctx context.Context, def workspace.Definition, versions []workspace.Pin) (*stack, func() error, error) {
	release, err := h.Store.Hold(ctx, "capture "+def.Name, roots(versions)...)
	if err != nil {
		return nil, nil, err
	}
	s, err := h.load(ctx, def, versions)
	if err != nil {
		return nil, nil, errors.Join(err, release())
	}
	return s, release, nil
}

func (h *Host) loadLayer(ctx context.Context, v workspace.Pin) (compose.Layer, error) {
	out := compose.Layer{Name: v.Name, Kind: v.Kind}
	if v.Version.IsZero() {
		return out, nil
	}
	version, err := manifest.ReadVersion(ctx, h.Store, v.Version)
	if err != nil {
		return out, err
	}
	if out.Tree, err = manifest.ReadTree(ctx, h.Store, version.Tree); err != nil {
		return out, err
	}
	out.Base, err = manifest.ReadTree(ctx, h.Store, version.Base)
	return out, err
}

// undercut composes what lies below each of the kinds that changes go to.
func (s *stack) undercut(ctx context.Context, kinds ...layers.Kind) (err error) {
	for _, kind := range kinds {
		n := 0
		for n < len(s.layers) && s.layers[n].Kind.Rank() < kind.Rank() {
			n++
		}
		if kind == layers.Group { // a new one, above those there are
			n = len(s.layers)
		}
		if s.below[kind], err = compose.Compose(ctx, s.store, s.layers[:n]); err != nil {
			return err
		}
	}
	return nil
}

// owner is the kind of the topmost layer that provides path, "" if none does.
func (s *stack) owner(path string) layers.Kind {
	if i := s.whole.Owner(path); i >= 0 {
		return s.layers[i].Kind
	}
	return ""
}

// trees are the trees of the writable layers and their bases, by kind.
func (s *stack) trees() (trees, bases map[layers.Kind]layers.Tree) {
	trees, bases = map[layers.Kind]layers.Tree{}, map[layers.Kind]layers.Tree{}
	for _, l := range s.layers {
		if l.Kind.Writable() {
			trees[l.Kind], bases[l.Kind] = l.Tree, l.Base
		}
	}
	return trees, bases
}

// roots are the versions that gc must keep while a stack of them is in use.
func roots(versions []workspace.Pin) []store.ID {
	var ids []store.ID
	for _, v := range versions {
		if !v.Version.IsZero() {
			ids = append(ids, v.Version)
		}
	}
	return ids
}

// stacked reports whether any layer lies on the lowest one, so that caches of
// all libraries, say, must be made anew.
func (s *stack) stacked() bool {
	for _, l := range s.layers[1:] {
		if len(l.Tree) > 0 {
			return true
		}
	}
	return false
}
