package exchange

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"satchel/layers"
	"satchel/layers/manifest"
	"satchel/store"
	"satchel/store/disk"
	"satchel/syncer"
)

// Contents fetches what a version whose record is there needs: trees and file
// contents. Versions in held, of any layer, are complete in the store; what
// they share with it is skipped. When it returns nil, all of it is durable, and
// its manifests are well formed. It goes on after cuts, and gives up when
// several tries in a row bring nothing. What has arrived until then, or until
// ctx is done, is made durable all the same.
//
// It fails with [syncer.ErrForged] when the server sends what was not asked
// for, and with [syncer.ErrManifest] when the version is malformed.
func Contents(ctx context.Context, st *disk.Store, w store.Writer, r syncer.Remote, layer store.LayerID, version store.ID, held []store.ID, opt Options) error {
	f := newFetcher(st, w, r, layer, opt)
	defer f.meter.end()
	err := f.version(ctx, version, held, func(ctx context.Context, v layers.Version, nodes idSet) error {
		f.meter.of(v.Tree.Bytes + v.Base.Bytes)
		if err := f.admit(ctx, v, nodes, held); err != nil {
			return err
		}
		if err := f.deltas(ctx, v, nodes, held); err != nil {
			return err
		}
		return f.contents(ctx, v, nodes)
	})
	if err != nil {
		return fmt.Errorf("fetch version %s: %w", version.Short(), err)
	}
	return nil
}

// Measure tells what Contents would fetch, by fetching the manifests alone. It
// keeps those.
func Measure(ctx context.Context, st *disk.Store, w store.Writer, r syncer.Remote, layer store.LayerID, version store.ID, held []store.ID, opt Options) (Size, error) {
	f := newFetcher(st, w, r, layer, opt)
	defer f.meter.end()
	var size Size
	err := f.version(ctx, version, held, func(ctx context.Context, v layers.Version, nodes idSet) error {
		var err error
		size, err = f.measure(ctx, v, nodes, nil, f.meter)
		return err
	})
	if err != nil {
		return Size{}, fmt.Errorf("measure version %s: %w", version.Short(), err)
	}
	return size, nil
}

// measure adds up the contents that a version needs and the store lacks. It
// fetches manifests, as deltas where older has some like them.
func (f *fetcher) measure(ctx context.Context, v layers.Version, nodes idSet, older *lineage, count *meter) (size Size, err error) {
	l := &lookup{fetcher: f, count: count, recent: recent{}, missing: func(_ context.Context, ps []piece) error {
		size.add(ps)
		return nil
	}}
	if err := f.descend(ctx, v, nodes, older, l.add); err != nil {
		return size, err
	}
	return size, l.flush(ctx)
}

// admit asks whether there is room for the contents of a version.
func (f *fetcher) admit(ctx context.Context, v layers.Version, nodes idSet, held []store.ID) error {
	if f.opt.Admit == nil {
		return nil
	}
	return f.opt.Admit(v.Tree.Bytes+v.Base.Bytes, func() (Size, error) {
		base, ok, err := f.base(ctx, held)
		if err != nil {
			return Size{}, err
		}
		var older *lineage
		if ok && f.opt.Deltas != Never {
			older = newLineage(f.st, base, v)
		}
		size, err := f.measure(ctx, v, nodes, older, &meter{})
		if err != nil {
			return size, err
		}
		return size, f.w.Flush(context.WithoutCancel(ctx)) // what was staged cannot be read back
	})
}

// version reads the version's record, has move do its work, and makes durable
// what that brought. It flushes before as well, since what was staged cannot be
// read.
func (f *fetcher) version(ctx context.Context, id store.ID, held []store.ID, move func(context.Context, layers.Version, idSet) error) error {
	if err := f.w.Flush(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	v, err := manifest.ReadVersion(ctx, f.st, id)
	if err != nil {
		return err
	}
	nodes, err := nodesOfAll(ctx, f.st, held)
	if err != nil {
		return err
	}
	err = move(ctx, v, nodes)
	if errors.Is(err, syncer.ErrForged) {
		return err
	}
	if failed := f.w.Flush(context.WithoutCancel(ctx)); failed != nil {
		return errors.Join(err, failed)
	}
	if err != nil {
		return err
	}
	return f.verify(ctx, id, nodes)
}

// verify checks the manifests, as far as they are there.
func (f *fetcher) verify(ctx context.Context, id store.ID, nodes idSet) error {
	err := manifest.Verify(ctx, f.st, id, nodes.has, func([]store.ID) error { return nil })
	if errors.Is(err, store.ErrCorrupt) {
		return fmt.Errorf("%w: %w", syncer.ErrManifest, err)
	}
	return err
}

// contents fetches a version's trees and the contents of its files: one
// goroutine descends and looks up, others fetch what is missing.
func (f *fetcher) contents(ctx context.Context, v layers.Version, nodes idSet) error {
	eg, ctx := errgroup.WithContext(ctx)
	batches := make(chan []piece)
	for range f.opt.streams() {
		eg.Go(func() error {
			for b := range batches {
				if err := f.fetch(ctx, b, nil); err != nil {
					return err
				}
			}
			return nil
		})
	}
	eg.Go(func() error {
		defer close(batches)
		l := &lookup{fetcher: f, count: f.meter, recent: recent{}, missing: func(ctx context.Context, ps []piece) error {
			return cut(ps, func(b []piece) error { return send(ctx, batches, b) })
		}}
		if err := f.descend(ctx, v, nodes, nil, l.add); err != nil {
			return err
		}
		if err := l.flush(ctx); err != nil {
			return err
		}
		f.meter.settle()
		return nil
	})
	return eg.Wait()
}

// send hands a batch to whoever takes the next.
func send[T any](ctx context.Context, to chan<- T, b T) error {
	select {
	case to <- b:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A lookup asks the writer for the contents that manifests name, many at a
// time, and hands on those that are missing.
type lookup struct {
	*fetcher
	count   *meter
	recent  recent
	missing func(context.Context, []piece) error

	pending []piece
}

// add takes in what a manifest chunk names.
func (l *lookup) add(ctx context.Context, refs manifest.Refs) error {
	for i, id := range refs.Contents {
		p := piece{id, refs.Sizes[i]}
		if !l.recent.add(id) {
			l.count.found(p.size)
			continue
		}
		if l.pending = append(l.pending, p); len(l.pending) == pageIDs {
			if err := l.flush(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *lookup) flush(ctx context.Context) error {
	has, err := l.w.Has(context.WithoutCancel(ctx), idsOf(l.pending))
	if err != nil {
		return err
	}
	missing := make([]piece, 0, len(l.pending)) // goes to other goroutines
	var found, wanted int64
	for i, p := range l.pending {
		if has[i] {
			found += p.size
		} else {
			wanted += p.size
			missing = append(missing, p)
		}
	}
	l.count.found(found)
	l.count.want(wanted)
	l.pending = l.pending[:0]
	return l.missing(ctx, missing)
}
