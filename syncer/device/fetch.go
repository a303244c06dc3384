package device

import (
	"context"
	"errors"
	"fmt"

	"satchel/layers"
	"satchel/layers/repo"
	"satchel/store"
	"satchel/syncer"
	"satchel/syncer/exchange"
)

// Fetch brings the contents of an older version of a layer, of which the home
// holds only the record. That they are here already is no error. It tells what
// was given up to make room; it fails with [ErrNoRoom] if that was not enough.
func (d *Device) Fetch(ctx context.Context, layer, version string) (e Eviction, err error) {
	at, err := d.opt.Repo.Resolve(ctx, layer+"@"+version)
	if !errors.Is(err, repo.ErrPartial) {
		return e, err
	}
	for try := 0; ; try++ { // what is given up may be a part of what is to come
		err = d.fetchOld(ctx, layer, at)
		var short *noRoom
		if !errors.As(err, &short) || try == evictions {
			return e, err
		}
		more, evictErr := d.evictFor(ctx, short.need)
		e.Evicted, e.Freed = append(e.Evicted, more.Evicted...), e.Freed+more.Freed
		if evictErr != nil || len(more.Evicted) == 0 {
			return e, errors.Join(err, evictErr)
		}
	}
}

func (d *Device) fetchOld(ctx context.Context, layer string, at repo.Resolved) (err error) {
	w, err := d.opt.Store.Begin(ctx, "fetch a version of layer "+layer)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	held, err := d.held(ctx, at.ID, at.Head.Version)
	if err != nil {
		return err
	}
	p := &pass{Device: d}
	opt := exchange.Options{
		Deltas: d.opt.Deltas, Progress: func(x exchange.Progress) { d.opt.Progress(layer, x) },
		Admit: p.admit(ctx, at.Version.Kind),
	}
	err = exchange.Contents(ctx, d.opt.Store, w, d.server(), at.Head.Layer, at.ID, held, opt)
	if err != nil {
		return fmt.Errorf("fetch version %s of layer %s: %w", at.ID.Short(), layer, err)
	}
	if err := d.noteFetched(at.ID); err != nil {
		return err
	}
	return d.opt.Store.Heads().Complete(ctx, at.ID)
}

// Publish makes a layer of the home known to the server, as one of its user's,
// and syncs it from now on. Layers of the kinds os and group take a publisher;
// local ones fail with [syncer.ErrForbidden].
func (d *Device) Publish(ctx context.Context, layer string) (LayerReport, error) {
	at, err := d.opt.Repo.Resolve(ctx, layer)
	if err != nil {
		return LayerReport{}, err
	}
	switch {
	case at.ID.IsZero():
		return LayerReport{}, fmt.Errorf("layer %s has no version yet", layer)
	case at.Version.Kind == layers.Local:
		return LayerReport{}, fmt.Errorf("layer %s belongs to this device alone, being of kind local: %w", layer, syncer.ErrForbidden)
	}
	report, err := d.sync(ctx, func(ctx context.Context, p *pass) error {
		p.names = []string{} // of no workspace: this is no sync of all
		if p.log != nil && published(at.Version.Kind) && !p.signs() {
			return ErrNoSigner
		}
		if _, known := p.find(at.Head.Layer); !known {
			if err := p.addLayer(ctx, at.Head, at.Version.Kind); err != nil {
				return err
			}
		}
		return p.layers(ctx, []store.Head{at.Head})
	})
	if len(report.Layers) == 0 {
		return LayerReport{}, err
	}
	return report.Layers[0], err
}
