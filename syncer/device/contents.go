package device

import (
	"context"
	"time"

	"satchel/layers/workspace"
	"satchel/store"
	"satchel/syncer"
	"satchel/syncer/ondemand"
	"satchel/syncer/trace"
)

// traceWait is how long a start waits for a trace at most: without one it is
// slower, but it starts.
const traceWait = 5 * time.Second

// Contents returns a getter of what a workspace's layers consist of, be it here
// or not. If the server has a trace of the stack, what that names is fetched at
// once. Reads end when ctx is done.
func (d *Device) Contents(ctx context.Context, def *workspace.Definition) (*ondemand.Getter, error) {
	stack, err := d.stack(ctx, def)
	if err != nil {
		return nil, err
	}
	opt := ondemand.Options{
		Store: d.opt.Store, Remote: func() syncer.Remote { return d.server() }, Layers: stack, Note: d.opt.Note,
	}
	for _, place := range def.Stack() {
		if place.Kind.Writable() {
			opt.Others = append(opt.Others, place.ID)
		}
	}
	if d.Unfilled(ctx) {
		asking, cancel := context.WithTimeout(ctx, traceWait)
		defer cancel()
		if got, err := d.server().Trace(asking, trace.StackID(d.opt.Store.Domain(), stack)); err == nil {
			opt.Trace = got.Chunks
		}
	}
	return ondemand.Open(ctx, opt)
}

// AnyContents returns a getter of what any layer of the home consists of, be it
// here or not, that prefetches nothing.
func (d *Device) AnyContents(ctx context.Context) (*ondemand.Getter, error) {
	thin, err := d.opt.Store.Heads().Thin(ctx)
	if err != nil {
		return nil, err
	}
	opt := ondemand.Options{Store: d.opt.Store, Remote: func() syncer.Remote { return d.server() }, Note: d.opt.Note}
	for version, layer := range thin {
		opt.Layers = append(opt.Layers, trace.Layer{Layer: layer, Version: version})
	}
	return ondemand.Open(ctx, opt)
}

// SendTrace gives the server the order in which a workspace's guest read its
// chunks. It keeps the first of a stack, for a while. SendTrace returns how many
// chunks it kept.
func (d *Device) SendTrace(ctx context.Context, def *workspace.Definition, chunks []store.ID) (kept int, err error) {
	stack, err := d.stack(ctx, def)
	if err != nil || len(stack) == 0 {
		return 0, err
	}
	return d.server().SendTrace(ctx, trace.StackID(d.opt.Store.Domain(), stack), &trace.Trace{Stack: stack, Chunks: chunks})
}

// stack returns the read-only layers of a workspace at their heads.
func (d *Device) stack(ctx context.Context, def *workspace.Definition) (stack []trace.Layer, err error) {
	for _, place := range def.Stack() {
		if place.Kind.Writable() {
			continue
		}
		head, err := d.opt.Store.Heads().Head(ctx, place.ID)
		if err != nil {
			return nil, err
		}
		if !head.Version.IsZero() {
			stack = append(stack, trace.Layer{Layer: head.Layer, Version: head.Version})
		}
	}
	return stack, nil
}
