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

// Contents returns a getter of what the versions of a workspace's layers consist
// of, be it here or not. If the server has a trace of the stack, what that names is fetched at
// once. Reads end when ctx is done.
func (d *Device) Contents(ctx context.Context, versions []workspace.Pin) (*ondemand.Getter, error) {
	stack := stackOf(versions)
	opt := ondemand.Options{
		Store: d.opt.Store, Remote: func() syncer.Remote { return d.server() }, Layers: stack, Note: d.opt.Note,
	}
	for _, v := range versions {
		if v.Kind.Writable() {
			opt.Others = append(opt.Others, v.Layer)
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

// SendTrace gives the server the order in which the guest of these versions read
// its chunks. It keeps the first of a stack, for a while. SendTrace returns how many
// chunks it kept.
func (d *Device) SendTrace(ctx context.Context, versions []workspace.Pin, chunks []store.ID) (kept int, err error) {
	stack := stackOf(versions)
	if len(stack) == 0 {
		return 0, nil
	}
	return d.server().SendTrace(ctx, trace.StackID(d.opt.Store.Domain(), stack), &trace.Trace{Stack: stack, Chunks: chunks})
}

// stackOf returns the read-only layers among versions.
func stackOf(versions []workspace.Pin) (stack []trace.Layer) {
	for _, v := range versions {
		if !v.Kind.Writable() && !v.Version.IsZero() {
			stack = append(stack, trace.Layer{Layer: v.Layer, Version: v.Version})
		}
	}
	return stack
}
