package session

import (
	"context"

	"satchel/store"
)

// contents is where the session's layers are read from.
func (h *Host) contents() store.Getter {
	if h.Contents != nil {
		return h.Contents
	}
	return h.Store
}

// until returns a getter whose reads end when end is called, whatever context
// they bring: a disk has none, and its reads may wait for a network.
func until(ctx context.Context, g store.Getter) (_ store.Getter, end func() error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	return bounded{g, ctx}, func() error { cancel(); return nil }
}

type bounded struct {
	store.Getter
	ctx context.Context
}

// Get implements [store.Getter].
func (b bounded) Get(_ context.Context, id store.ID) ([]byte, error) { return b.Getter.Get(b.ctx, id) }
