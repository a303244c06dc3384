package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"satchel/layers"
	"satchel/layers/compose"
	"satchel/layers/manifest"
	"satchel/store"
	"satchel/store/disk"
	"satchel/syncer"
	"satchel/syncer/exchange"
	"satchel/syncer/publication"
)

// plan tells what an assignment would mean, without making it.
func (s *Server) plan(r *http.Request, a publication.Assignment) (syncer.Plan, error) {
	ctx := r.Context()
	plan := syncer.Plan{Workspace: a.Workspace, To: a.To, Devices: []syncer.PlannedDevice{}}
	log := s.registry.Log()
	for _, source := range a.Sources() {
		l, err := s.registry.Layer(source.Layer)
		if err != nil {
			return plan, err
		}
		target, err := log.Target(source, publication.Reader{})
		if err != nil && len(log.Published[source.Layer]) > 0 {
			if p, ok := log.Channel(source.Layer, source.Channel); ok { // in waves that have not come to anybody
				target, err = p, nil
			}
		}
		if err != nil {
			return plan, fmt.Errorf("layer %s: %w: %w", l.Name, err, store.ErrNotExist)
		}
		plan.Layers = append(plan.Layers, syncer.PlannedLayer{Layer: l.ID, Name: l.Name, Kind: l.Kind, Version: target.Version})
	}
	devices, err := s.registry.For(a.To)
	if err != nil {
		return plan, err
	}
	scale, err := s.store.Scale(ctx)
	if err != nil {
		return plan, err
	}
	p := &planner{Server: s, plan: &plan, scale: scale, sizes: map[[2]store.ID]weight{}, conflicts: map[string][]syncer.PlannedConflict{}}
	for _, d := range devices {
		if err := p.device(ctx, d); err != nil {
			return plan, err
		}
	}
	return plan, nil
}

// A planner remembers what it found out for devices that are alike.
type planner struct {
	*Server
	plan      *syncer.Plan
	scale     *disk.Scale
	sizes     map[[2]store.ID]weight
	conflicts map[string][]syncer.PlannedConflict // by user
}

// A weight is what lies between two versions.
type weight struct {
	exchange.Size
	stored int64 // bytes in the server's packs
}

func (p *planner) device(ctx context.Context, d syncer.Device) (err error) {
	out := syncer.PlannedDevice{Device: d.Name, User: d.User}
	held := p.registry.Held(d.Name)
	for _, l := range p.plan.Layers {
		have := held[l.Layer]
		if have == l.Version {
			continue
		}
		size, err := p.between(ctx, have, l.Version)
		if err != nil {
			return err
		}
		out.Chunks += size.Chunks
		out.Bytes += size.Bytes
		back, err := p.between(ctx, l.Version, have)
		if err != nil {
			return err
		}
		out.RollbackBytes += back.Bytes
		out.RollbackSpace += back.stored
		out.Space += size.stored
	}
	out.Moved = out.Space
	if at := p.registry.Disk(d.Name); at != nil {
		room := at.Room()
		out.Room, out.Lacking = &room, max(out.Space-max(room, 0), 0)
	}
	if _, done := p.conflicts[d.User]; !done {
		if p.conflicts[d.User], err = p.conflictsOf(ctx, d.User); err != nil {
			return err
		}
	}
	out.Conflicts = p.conflicts[d.User]
	p.plan.Devices = append(p.plan.Devices, out)
	p.plan.Bytes += out.Bytes
	p.plan.Moved += out.Moved
	return nil
}

// between measures what lies between two versions. One that is not here, since
// it never was or its layer was removed, counts as none.
func (p *planner) between(ctx context.Context, from, to store.ID) (weight, error) {
	if to.IsZero() {
		return weight{}, nil
	}
	if size, ok := p.sizes[[2]store.ID{from, to}]; ok {
		return size, nil
	}
	size, err := p.weigh(ctx, from, to)
	if errors.Is(err, store.ErrNotExist) && !from.IsZero() {
		size, err = p.weigh(ctx, store.ID{}, to)
	}
	p.sizes[[2]store.ID{from, to}] = size
	return size, err
}

func (p *planner) weigh(ctx context.Context, from, to store.ID) (w weight, err error) {
	seen := map[store.ID]bool{}
	w.Size, err = exchange.Between(ctx, p.store, from, to, func(ids []store.ID) error {
		ids = slices.DeleteFunc(ids, func(id store.ID) bool { return seen[id] })
		for _, id := range ids {
			seen[id] = true
		}
		stored, err := p.scale.Weigh(ctx, ids)
		w.stored += stored
		return err
	})
	return w, err
}

// conflictsOf composes a user's workspace of that name with the planned layers
// below, and tells what registries would disagree.
func (p *planner) conflictsOf(ctx context.Context, user string) ([]syncer.PlannedConflict, error) {
	all, err := p.registry.Workspaces()
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(all, func(w syncer.Workspace) bool { return w.Owner == user && w.Name == p.plan.Workspace })
	if i < 0 {
		return nil, nil
	}
	var stack []compose.Layer
	for _, l := range p.plan.Layers {
		layer, err := p.layerAt(ctx, l.Name, l.Kind, l.Version)
		if err != nil {
			return nil, err
		}
		stack = append(stack, layer)
	}
	for _, own := range []struct {
		kind layers.Kind
		id   store.LayerID
	}{{layers.Personal, all[i].Personal}, {layers.System, all[i].System}, {layers.Data, all[i].Data}} {
		head, err := p.store.Heads().Head(ctx, own.id)
		if err != nil {
			return nil, err
		}
		layer, err := p.layerAt(ctx, head.Name, own.kind, head.Version)
		if err != nil {
			return nil, err
		}
		stack = append(stack, layer)
	}
	whole, err := compose.Compose(ctx, p.store, stack)
	if err != nil {
		return nil, err
	}
	var conflicts []syncer.PlannedConflict
	for _, c := range whole.Conflicts {
		conflicts = append(conflicts, syncer.PlannedConflict{Layer: c.Layer, Path: c.Path, Reason: c.Reason})
	}
	return conflicts, nil
}

func (p *planner) layerAt(ctx context.Context, name string, kind layers.Kind, version store.ID) (l compose.Layer, err error) {
	l = compose.Layer{Name: name, Kind: kind}
	if version.IsZero() {
		return l, nil
	}
	v, err := manifest.ReadVersion(ctx, p.store, version)
	if err != nil {
		return l, err
	}
	if l.Tree, err = manifest.ReadTree(ctx, p.store, v.Tree); err == nil {
		l.Base, err = manifest.ReadTree(ctx, p.store, v.Base)
	}
	return l, err
}
