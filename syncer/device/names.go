package device

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"satchel/layers"
	"satchel/layers/repo"
	"satchel/layers/workspace"
	"satchel/store"
	"satchel/syncer"
)

// maxNames bounds how many names are tried for a layer.
const maxNames = 100

// numbered calls try with name, name+2, name+3 and so on until one is free.
func numbered(name string, try func(name string) error) error {
	for n := 1; ; n++ {
		next := name
		if n > 1 {
			next += "+" + strconv.Itoa(n)
		}
		if err := try(next); !errors.Is(err, store.ErrExist) || n == maxNames {
			return err
		}
	}
}

// layerHere finds a layer of the server's here, and adds it if need be, without
// a version: under its name on the server, less its owner's if that is this
// device's user.
func (p *pass) layerHere(ctx context.Context, kind layers.Kind, id store.LayerID) (workspace.Layer, error) {
	l, ok := p.find(id)
	if !ok {
		return workspace.Layer{}, fmt.Errorf("its %s layer %s: %w", kind, id, syncer.ErrForbidden)
	}
	if l.Kind != kind {
		return workspace.Layer{}, fmt.Errorf("its %s layer %s is of kind %s: %w", kind, l.Name, l.Kind, syncer.ErrMalformed)
	}
	heads := p.opt.Store.Heads()
	head, err := heads.Head(ctx, id)
	if errors.Is(err, store.ErrNotExist) {
		name := strings.TrimPrefix(l.Name, p.state.User+"/")
		if err := repo.CheckName(name); err != nil {
			return workspace.Layer{}, fmt.Errorf("%w: %w", err, syncer.ErrMalformed)
		}
		err = numbered(name, func(name string) (err error) {
			head, err = heads.Add(ctx, id, name)
			return err
		})
	}
	if err != nil {
		return workspace.Layer{}, fmt.Errorf("layer %s: %w", l.Name, err)
	}
	return workspace.Layer{ID: head.Layer, Name: head.Name}, nil
}

// localLayer makes the layer of a workspace that never leaves the device.
func (p *pass) localLayer(ctx context.Context, workspaceName string) (workspace.Layer, error) {
	head, err := p.emptyLayer(ctx, workspaceName+"/"+string(layers.Local))
	return workspace.Layer{ID: head.Layer, Name: head.Name}, err
}

// emptyLayer makes a layer of that name, or takes one without a version that
// nobody uses, such as a pass that was cut off leaves; if the name is taken,
// then of that name with a number.
func (p *pass) emptyLayer(ctx context.Context, name string) (head store.Head, err error) {
	used := map[store.LayerID]bool{}
	here, errs := p.definitions()
	if len(errs) > 0 {
		return head, errors.Join(errs...)
	}
	for i := range here {
		for _, place := range here[i].Stack() {
			used[place.ID] = true
		}
	}
	heads := p.opt.Store.Heads()
	err = numbered(name, func(name string) (err error) {
		head, err = heads.Create(ctx, name)
		if !errors.Is(err, store.ErrExist) {
			return err
		}
		old, lookErr := heads.Lookup(ctx, name)
		if _, known := p.find(old.Layer); lookErr == nil && !known && !used[old.Layer] && old.Version.IsZero() {
			head = old
			return nil
		}
		return err
	})
	return head, err
}

// layerThere makes sure that the server knows a layer of a workspace. It
// reports false for one that only a publisher may add.
func (p *pass) layerThere(ctx context.Context, place workspace.Place) (bool, error) {
	if _, known := p.find(place.ID); known || place.Kind == layers.Local {
		return true, nil
	}
	head, err := p.opt.Store.Heads().Head(ctx, place.ID)
	if err != nil {
		return false, fmt.Errorf("%s layer %s: %w", place.Kind, place.Name, err)
	}
	if !place.Kind.Writable() && !p.state.Publisher {
		return false, nil
	}
	return true, p.addLayer(ctx, head, place.Kind)
}

// addLayer tells the server of a layer that is here.
func (p *pass) addLayer(ctx context.Context, head store.Head, kind layers.Kind) error {
	err := numbered(head.Name, func(name string) error {
		l, err := p.server().AddLayer(ctx, syncer.NewLayer{ID: head.Layer, Name: name, Kind: kind})
		if err == nil {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.state.Layers = append(p.state.Layers, l)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("layer %s: %w", head.Name, err)
	}
	return nil
}
