package server

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"satchel/store"
)

// heads keeps the list of heads until something changes, so that many devices
// that wait for news read it once. Whoever moves a head touches the registry
// afterwards.
type heads struct {
	mu    sync.Mutex
	until <-chan struct{} // of the registry, when the list was read
	list  map[store.LayerID]store.Head
}

// heads returns all heads as they were when changed, which is from
// [registry.Registry.Changed], or later.
func (s *Server) heads(ctx context.Context, changed <-chan struct{}) (map[store.LayerID]store.Head, error) {
	h := &s.lastHeads
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.until == changed {
		return h.list, nil
	}
	all, err := s.store.Heads().List(ctx)
	if err != nil {
		return nil, damaged(err)
	}
	list := make(map[store.LayerID]store.Head, len(all))
	for _, head := range all {
		list[head.Layer] = head
	}
	h.until, h.list = changed, list
	return list, nil
}

// reached returns what a layer reaches now.
func (s *Server) reached(ctx context.Context, layer store.LayerID) (*reached, error) {
	list, err := s.heads(ctx, s.registry.Changed())
	if err != nil {
		return nil, err
	}
	return s.reach.of(ctx, list[layer])
}

// A form is what a chunk is taken for.
type form int

const (
	anything form = iota
	asManifest
	asContents
)

func (x *reached) as(f form, id store.ID) bool {
	switch f {
	case asManifest:
		return x.manifest(id)
	case asContents:
		return x.contents.has(id)
	default:
		return x.has(id)
	}
}

// noted is the name under which the registry keeps that a device has uploaded
// a chunk. Manifests have another than contents, so that a push cannot have the
// one taken for the other; see [reached].
func noted(f form, id store.ID) store.ID {
	if f == asManifest {
		for i := range id {
			id[i] = ^id[i]
		}
	}
	return id
}

// A view is what a device may see, which is asked in the order of what is
// likely and cheap: one layer, the device's uploads, its other layers.
type view struct {
	server *Server
	device caller
	layer  store.LayerID
	own    *reached // what the layer reaches

	mu     sync.Mutex
	others []*reached // what other layers reach, as far as looked at
	rest   []store.Head
	listed bool
}

func (s *Server) view(ctx context.Context, d caller, layer store.LayerID) (*view, error) {
	own, err := s.reached(ctx, layer)
	if err != nil {
		return nil, err
	}
	return &view{server: s, device: d, layer: layer, own: own}, nil
}

// sees tells for each chunk whether the device may see it, taken for what f
// says, and whether it is only the device's uploads that let it.
func (v *view) sees(ctx context.Context, f form, ids []store.ID) (sees, uploaded []bool, err error) {
	sees, uploaded = make([]bool, len(ids)), make([]bool, len(ids))
	var open []int
	for i, id := range ids {
		if sees[i] = v.own.as(f, id); !sees[i] {
			open = append(open, i)
		}
	}
	for _, form := range []form{asManifest, asContents} {
		if f != anything && f != form || len(open) == 0 {
			continue
		}
		names := make([]store.ID, len(open))
		for k, i := range open {
			names[k] = noted(form, ids[i])
		}
		has, err := v.server.registry.HasUploaded(ctx, v.device.Name, names)
		if err != nil {
			return nil, nil, fmt.Errorf("uploads of %s: %w", v.device.Name, err)
		}
		left := open[:0]
		for k, i := range open {
			if sees[i], uploaded[i] = has[k], has[k]; !has[k] {
				left = append(left, i)
			}
		}
		open = left
	}
	for n := 0; len(open) > 0; n++ {
		set, err := v.other(ctx, n)
		if set == nil || err != nil {
			return sees, uploaded, err
		}
		left := open[:0]
		for _, i := range open {
			if sees[i] = set.as(f, ids[i]); !sees[i] {
				left = append(left, i)
			}
		}
		open = left
	}
	return sees, uploaded, nil
}

// holds fails with [store.ErrNotExist] unless the device may see all the chunks.
func (v *view) holds(ctx context.Context, ids []store.ID) error {
	sees, _, err := v.sees(ctx, anything, ids)
	if err != nil {
		return err
	}
	if i := slices.Index(sees, false); i >= 0 {
		return fmt.Errorf("chunk %s: %w", ids[i].Short(), store.ErrNotExist)
	}
	return nil
}

// other returns what the n-th other layer that the device may read reaches, or
// nil after the last.
func (v *view) other(ctx context.Context, n int) (*reached, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.listed {
		if err := v.list(ctx); err != nil {
			return nil, err
		}
	}
	for n >= len(v.others) {
		if len(v.rest) == 0 {
			return nil, nil
		}
		set, err := v.server.reach.of(ctx, v.rest[0])
		if ctx.Err() != nil {
			return nil, err
		}
		v.rest = v.rest[1:]
		if err != nil { // a layer that is damaged is none to build on, and no hindrance
			v.server.log.LogAttrs(ctx, slog.LevelError, "layer", slog.Any("error", err))
			continue
		}
		v.others = append(v.others, set)
	}
	return v.others[n], nil
}

// list finds the other layers.
func (v *view) list(ctx context.Context) error {
	s := v.server
	list, err := s.heads(ctx, s.registry.Changed())
	if err != nil {
		return err
	}
	st, err := s.registry.View(v.device.Device)
	if err != nil {
		return fmt.Errorf("layers of %s: %w", v.device.Name, err)
	}
	for _, l := range st.Layers {
		if head, ok := list[l.ID]; ok && l.ID != v.layer && !head.Version.IsZero() {
			v.rest = append(v.rest, head)
		}
	}
	v.listed = true
	return nil
}
