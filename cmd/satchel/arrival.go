package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"satchel/layers/workspace"
	"satchel/store"
	"satchel/syncer/device"
	"satchel/syncer/exchange"
	"satchel/syncer/ondemand"
	"satchel/vmm/session"
)

// bring makes a workspace that the server knows and that is not here yet, or has
// no operating system here, from its manifests.
func (a *app) bring(ctx context.Context, h *home, name string, limits device.Options) error {
	def, err := h.workspaces.Load(name)
	if err == nil {
		head, headErr := h.store.Heads().Head(ctx, def.OS.ID)
		if headErr != nil || !head.Version.IsZero() {
			return headErr
		}
	} else if !errors.Is(err, store.ErrNotExist) {
		return err
	}
	d, openErr := a.device(h, limits)
	if errors.Is(openErr, device.ErrNotEnrolled) {
		return err
	}
	if openErr != nil {
		return openErr
	}
	defer d.Close() //nolint:errcheck // only idle connections are closed
	a.note("fetching what %s is made of; its files follow as they are needed", name)
	_, err = d.SyncLazily(ctx, name)
	return err
}

// An arrival is a workspace that runs while it is still being fetched, or might
// be. The zero value is one in a home that belongs to no server.
type arrival struct {
	app    *app
	home   *home
	name   string
	device *device.Device
	getter *ondemand.Getter
	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu   sync.Mutex
	boot *ondemand.Stats
}

// fillPause is how long is waited before the rest is fetched again after a
// failure, or while another process does.
const fillPause = 15 * time.Second

func (a *app) arrival(ctx context.Context, h *home, name string, limits device.Options) (*arrival, error) {
	r := &arrival{app: a, home: h, name: name}
	versions, err := h.versions(ctx, name)
	if err != nil {
		return nil, err
	}
	limits.Progress = func(string, exchange.Progress) {}
	d, err := a.device(h, limits)
	if errors.Is(err, device.ErrNotEnrolled) {
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	// An interrupt ends the guest in order, for which it may have to read.
	r.ctx, r.cancel = context.WithCancel(context.WithoutCancel(ctx))
	r.device = d
	if r.getter, err = d.Contents(r.ctx, versions); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return r, nil
}

// versions returns what the next start of a workspace composes.
func (h *home) versions(ctx context.Context, name string) (pins []workspace.Pin, err error) {
	def, err := h.workspaces.Load(name)
	if err != nil {
		return nil, err
	}
	for _, place := range def.Stack() {
		head, err := h.store.Heads().Head(ctx, place.ID)
		if err != nil {
			return nil, err
		}
		pins = append(pins, workspace.Pin{Kind: place.Kind, Layer: place.ID, Name: place.Name, Version: head.Version})
	}
	health, err := h.workspaces.LoadHealth(name)
	if err != nil {
		return nil, err
	}
	return health.Choose(pins), nil
}

// host has a host read from here.
func (r *arrival) host(h *session.Host) *session.Host {
	if r.getter != nil {
		h.Contents, h.Waiting = r.getter, r.getter.Waiting
	}
	return h
}

// ready sends the trace of the boot and begins to fetch the rest.
func (r *arrival) ready() {
	if r.getter == nil {
		return
	}
	chunks, stats := r.getter.Used(), r.getter.Stats()
	if stats.Fetched > 0 {
		r.mu.Lock()
		r.boot = &stats
		r.mu.Unlock()
		r.app.note("%s came while it started; the rest follows", size(stats.Fetched))
	}
	if rec, err := r.home.workspaces.LoadSession(r.name); err == nil {
		r.work.Go(func() {
			// Without it the next device starts a little slower.
			_, _ = r.device.SendTrace(r.ctx, rec.Composed, chunks)
		})
	}
	if r.device.Unfilled(r.ctx) {
		r.work.Go(r.fill)
	}
}

// fill fetches the rest.
func (r *arrival) fill() {
	told := false
	for {
		err := r.device.Fill(r.ctx, r.getter.Idle)
		switch {
		case r.ctx.Err() != nil:
			return
		case err == nil:
			r.app.note("%s is offline-ready", r.name)
			return
		case errors.Is(err, device.ErrNoRoom) && !told:
			told = true
			r.app.note("%v", err)
		}
		select {
		case <-time.After(fillPause):
		case <-r.ctx.Done():
			return
		}
	}
}

// stats tells what was fetched until the guest was ready, if anything was.
func (r *arrival) stats() *ondemand.Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.boot
}

// close ends what is being fetched; what has come is kept.
func (r *arrival) close() error {
	if r.getter == nil {
		return nil
	}
	r.cancel()
	r.work.Wait()
	return errors.Join(r.getter.Close(), r.device.Close())
}
