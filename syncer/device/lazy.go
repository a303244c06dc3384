package device

import (
	"context"
	"errors"

	"satchel/store"
	"satchel/syncer"
	"satchel/syncer/exchange"
)

// SyncLazily is Sync that takes new versions of os and group layers as soon as
// their manifests are here. Such a version is thin: [Device.Contents] gives what
// is needed of it, and [Device.Fill], or the next Sync, brings the rest.
func (d *Device) SyncLazily(ctx context.Context, workspaces ...string) (Report, error) {
	return d.sync(ctx, func(ctx context.Context, p *pass) error {
		p.names, p.lazy = append(p.names, workspaces...), true
		return p.all(ctx)
	})
}

// lazily reports whether a layer's new version is taken without its contents.
// Layers that sessions write are not: they are small, and merged and sent as a
// whole.
func (m *meeting) lazily() bool {
	l, ok := m.find(m.head.Layer)
	return m.lazy && ok && !l.Kind.Writable()
}

// pullThin fetches the manifests of the server's version and moves the local head
// to it.
func (m *meeting) pullThin(ctx context.Context) error {
	held, err := m.held(ctx, m.remote, m.local)
	if err != nil {
		return err
	}
	opt, end := m.exchange()
	_, err = exchange.Measure(ctx, m.opt.Store, m.w, m.server(), m.head.Layer, m.remote, held, opt)
	end()
	if err != nil {
		return err
	}
	move := m.moveTo(m.remote)
	move.Whole, move.Thin = false, true
	if err := m.opt.Store.Heads().CompareAndSwap(ctx, move); err != nil {
		return err
	}
	m.report.Pulled, m.report.Thin = m.remote, true
	m.agree(m.remote)
	return nil
}

// mend completes the thin versions of the layer, so that it can be merged and
// sent. Most of what a session's versions lack is what they hide of a layer below.
func (m *meeting) mend(ctx context.Context) error {
	thin, err := m.opt.Store.Heads().Thin(ctx)
	if err != nil {
		return err
	}
	for version, layer := range thin {
		if layer != m.head.Layer {
			continue
		}
		if err := m.complete(ctx, version); err != nil {
			return err
		}
	}
	return nil
}

// lacking reports a version of which the home lacks trees, or contents.
func (d *Device) lacking(ctx context.Context, version store.ID) (bool, error) {
	whole, err := d.held(ctx, store.ID{}, version)
	return len(whole) == 0 && !version.IsZero(), err
}

// held returns those of some versions that are whole here and not the given one.
func (d *Device) held(ctx context.Context, but store.ID, versions ...store.ID) (held []store.ID, err error) {
	partial, err := d.opt.Store.Heads().Partial(ctx)
	if err != nil {
		return nil, err
	}
	thin, err := d.opt.Store.Heads().Thin(ctx)
	if err != nil {
		return nil, err
	}
	for _, id := range versions {
		_, recordOnly := partial[id]
		_, unfilled := thin[id]
		if !id.IsZero() && id != but && !recordOnly && !unfilled {
			held = append(held, id)
		}
	}
	return held, nil
}

// anyLayer returns the server as one that gives a layer's chunks also when it is
// another layer that reaches them, and this one does not yet: a version that was
// made on top of a thin one names what that one has.
func (p *pass) anyLayer() syncer.Remote {
	a := &anyLayer{Remote: p.server()}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.state.Layers {
		if !l.Kind.Writable() {
			a.others = append(a.others, l.ID)
		}
	}
	return a
}

type anyLayer struct {
	syncer.Remote
	others []store.LayerID
}

// Fetch implements [syncer.Remote]. What a layer does not reach is refused as a
// whole, before the first frame, so it is halved until it is known what.
func (a *anyLayer) Fetch(ctx context.Context, layer store.LayerID, ids []store.ID, frame func([]byte) error) error {
	err := a.Remote.Fetch(ctx, layer, ids, frame)
	if !errors.Is(err, syncer.ErrForbidden) {
		return err
	}
	for _, other := range a.others {
		if other == layer {
			continue
		}
		if next := a.Remote.Fetch(ctx, other, ids, frame); !errors.Is(next, syncer.ErrForbidden) {
			return next
		}
	}
	if len(ids) < 2 {
		return err
	}
	if err := a.Fetch(ctx, layer, ids[:len(ids)/2], frame); err != nil {
		return err
	}
	return a.Fetch(ctx, layer, ids[len(ids)/2:], frame)
}

// Deltas implements [syncer.Remote]: what the layer does not reach comes whole.
func (a *anyLayer) Deltas(ctx context.Context, layer store.LayerID, pairs []syncer.Pair, delta func(int, syncer.Delta) error, sketch func(int, syncer.Sketch) error) error {
	err := a.Remote.Deltas(ctx, layer, pairs, delta, sketch)
	if errors.Is(err, syncer.ErrForbidden) {
		return nil
	}
	return err
}
