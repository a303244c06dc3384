package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"satchel/store"
	"satchel/syncer/device"
	"satchel/syncer/ondemand"
)

// contents reads chunks of layers that may not be here yet, for verbs that seldom
// need one: the server is asked when the first is missing.
type contents struct {
	app  *app
	home *home

	mu     sync.Mutex
	device *device.Device
	getter *ondemand.Getter
}

// arriving returns a getter of all that the home's layers consist of.
func (h *home) arriving(a *app) store.Getter {
	if h.contents == nil {
		h.contents = &contents{app: a, home: h}
	}
	return h.contents
}

// Get implements [store.Getter].
func (c *contents) Get(ctx context.Context, id store.ID) ([]byte, error) {
	b, err := c.home.store.Get(ctx, id)
	if err == nil || !errors.Is(err, store.ErrNotExist) {
		return b, err
	}
	g, openErr := c.open(ctx)
	switch {
	case openErr != nil:
		return nil, errors.Join(err, openErr)
	case g == nil:
		return nil, err
	}
	return g.Get(ctx, id)
}

// open returns the getter that asks the server, or nil when nothing is to come.
func (c *contents) open(ctx context.Context) (*ondemand.Getter, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.getter != nil {
		return c.getter, nil
	}
	thin, err := c.home.store.Heads().Thin(ctx)
	if err != nil || len(thin) == 0 {
		return nil, err
	}
	d, err := c.app.device(c.home, device.Options{})
	if err != nil {
		return nil, fmt.Errorf("fetch what is missing: %w", err)
	}
	// It lives as long as the home is open; each read brings its own end.
	g, err := d.AnyContents(context.WithoutCancel(ctx))
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	c.device, c.getter = d, g
	return g, nil
}

func (c *contents) close() error {
	if c == nil || c.getter == nil {
		return nil
	}
	return errors.Join(c.getter.Close(), c.device.Close())
}
