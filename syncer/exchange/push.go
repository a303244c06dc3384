package exchange

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"satchel/layers/manifest"
	"satchel/layers/repo"
	"satchel/store"
	"satchel/store/disk"
	"satchel/syncer"
	"satchel/syncer/deltas"
)

// Push sends a layer's version to, with the versions between it and from and all
// that they need and the server lacks, and has the server move the layer's
// head. From is in the history of to, and complete in the store unless zero. It
// goes on after cuts, and gives up when several tries in a row bring nothing.
//
// It fails with [store.ErrMoved] when the server's head is not at from, with
// [syncer.ErrReplayed] when that has moved on from to, with
// [syncer.ErrForbidden] when the server asks for a chunk that no version of the
// push reaches, and with [repo.ErrPartial] when of a version that is to be sent
// only the record is here: the server had it once.
func Push(ctx context.Context, st *disk.Store, r syncer.Remote, layer store.LayerID, from, to store.ID, opt Options) (err error) {
	release, err := st.Hold(ctx, "push", to)
	if err != nil {
		return fmt.Errorf("push version %s: %w", to.Short(), err)
	}
	p := &pusher{st: st, r: r, layer: layer, opt: opt, meter: &meter{report: opt.Progress}, codec: deltas.New(st, st.Domain()), sent: idSet{}}
	defer p.meter.end()
	if err = p.push(ctx, from, to); err != nil {
		err = fmt.Errorf("push version %s: %w", to.Short(), err)
	}
	return errors.Join(err, release())
}

// Unsent tells what Push would have to send at most, without asking the server.
func Unsent(ctx context.Context, st *disk.Store, from, to store.ID) (Size, error) {
	var size Size
	versions, err := unsent(ctx, st, from, to)
	if err == nil {
		err = eachNeed(ctx, st, from, versions, func(_ context.Context, ps []piece) error {
			size.add(ps)
			return nil
		})
	}
	if err != nil {
		return Size{}, fmt.Errorf("measure version %s: %w", to.Short(), err)
	}
	return size, nil
}

// unsent returns the versions that to's history holds beyond from, parents
// before children. All of them are complete.
func unsent(ctx context.Context, st *disk.Store, from, to store.ID) ([]store.ID, error) {
	partial, err := st.Heads().Partial(ctx)
	if err != nil {
		return nil, err
	}
	isPartial := func(versions []store.ID) (store.ID, bool) {
		for _, id := range versions {
			if _, ok := partial[id]; ok {
				return id, true
			}
		}
		return store.ID{}, false
	}
	read := readNote(st)
	versions, missing, err := beyond(ctx, read, to, []store.ID{from})
	if err != nil {
		return nil, err
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("record of version %s %w", missing[0].Short(), store.ErrNotExist)
	}
	if _, ok := isPartial(versions); ok { // it comes from the server: a clock is wrong
		if versions, err = without(ctx, read, versions, []store.ID{from}); err != nil {
			return nil, err
		}
	}
	if id, ok := isPartial(versions); ok {
		v, err := manifest.ReadVersion(ctx, st, id)
		if err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("version %s %w, and the server has lost it: sync the device %s first", id.Short(), repo.ErrPartial, v.Device)
	}
	return versions, nil
}

// Between tells what who has version from needs to get to version to, at most,
// without what lies between them. The zero version is none. Chunks is called with
// the chunks; some may be told several times.
func Between(ctx context.Context, g store.Getter, from, to store.ID, chunks func([]store.ID) error) (Size, error) {
	var size Size
	n := newNeeds(g)
	var olds []store.ID
	if !from.IsZero() {
		olds = []store.ID{from}
		if err := n.skip(ctx, from); err != nil {
			return Size{}, fmt.Errorf("measure version %s: %w", to.Short(), err)
		}
	}
	err := n.version(ctx, to, olds, func(_ context.Context, ps []piece) error {
		size.add(ps)
		return chunks(idsOf(ps))
	})
	if err != nil {
		return Size{}, fmt.Errorf("measure version %s: %w", to.Short(), err)
	}
	return size, nil
}

// eachNeed calls emit with what versions need beyond from.
func eachNeed(ctx context.Context, g store.Getter, from store.ID, versions []store.ID, emit func(context.Context, []piece) error) error {
	return newNeeds(g).each(ctx, from, versions, emit)
}

// each tells what versions need beyond from.
func (n *needs) each(ctx context.Context, from store.ID, versions []store.ID, emit func(context.Context, []piece) error) error {
	sent := idSet{}
	if !from.IsZero() {
		if err := n.skip(ctx, from); err != nil {
			return err
		}
		sent.add(from)
	}
	for _, id := range versions {
		v, err := manifest.ReadVersion(ctx, n.get, id)
		if err != nil {
			return err
		}
		var olds []store.ID
		for _, p := range v.Parents {
			if sent.has(p) {
				olds = append(olds, p)
			}
		}
		if err := n.version(ctx, id, olds, emit); err != nil {
			return err
		}
		sent.add(id)
	}
	return nil
}

// A pusher sends chunks of one layer to a remote.
type pusher struct {
	st    *disk.Store
	r     syncer.Remote
	layer store.LayerID
	opt   Options
	meter *meter
	codec *deltas.Codec
	sent  idSet // chunks that went as deltas
}

func (p *pusher) push(ctx context.Context, from, to store.ID) error {
	versions, err := unsent(ctx, p.st, from, to)
	if err != nil {
		return err
	}
	if err := p.deltas(ctx, from, versions); err != nil {
		return err
	}
	if err := p.deliver(ctx, from, versions); err != nil {
		return err
	}
	for range rounds {
		err = again(ctx, p.meter, func() (bool, error) { return false, p.r.Push(ctx, p.layer, from, to) })
		missing := (*syncer.MissingError)(nil)
		if !errors.As(err, &missing) || len(missing.IDs) == 0 {
			return err
		}
		if err := p.supply(ctx, versions, missing.IDs); err != nil {
			return err
		}
	}
	return err
}

// deliver sends what versions need beyond from, but for what the server has.
func (p *pusher) deliver(ctx context.Context, from store.ID, versions []store.ID) error {
	return p.upload(ctx, func(ctx context.Context, send func([]piece) error) error {
		o := &offers{pusher: p, send: send, small: true}
		if err := eachNeed(ctx, p.st, from, versions, o.add); err != nil {
			return err
		}
		return o.end(ctx)
	})
}

// supply sends chunks that the server asked for. A server must not be able to
// have a device send what is in its store otherwise, so it looks for them in the
// versions, this time without leaving anything out.
func (p *pusher) supply(ctx context.Context, versions, ids []store.ID) error {
	asked := idSet{}
	for _, id := range ids {
		asked.add(id)
	}
	var found []piece
	err := eachNeed(ctx, p.st, store.ID{}, versions, func(_ context.Context, ps []piece) error {
		for _, piece := range ps {
			if asked.has(piece.id) {
				delete(asked, piece.id)
				found = append(found, piece)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for id := range asked {
		return fmt.Errorf("the server asks for chunk %s, which the version does not reach: %w", id.Short(), syncer.ErrForbidden)
	}
	return p.upload(ctx, func(_ context.Context, send func([]piece) error) error { return cut(found, send) })
}

// upload sends the batches that produce hands over, several at a time.
func (p *pusher) upload(ctx context.Context, produce func(ctx context.Context, send func([]piece) error) error) error {
	eg, ctx := errgroup.WithContext(ctx)
	batches := make(chan []piece)
	for range p.opt.streams() {
		eg.Go(func() error {
			for b := range batches {
				if err := p.batch(ctx, b); err != nil {
					return err
				}
			}
			return nil
		})
	}
	eg.Go(func() error {
		defer close(batches)
		return produce(ctx, func(b []piece) error { return send(ctx, batches, b) })
	})
	return eg.Wait()
}

// batch uploads one batch. After a cut it asks what of it is still wanted.
func (p *pusher) batch(ctx context.Context, b []piece) error {
	first := true
	return again(ctx, p.meter, func() (bool, error) {
		moved := false
		if !first {
			left, err := p.offer(ctx, b)
			if err != nil {
				return false, err
			}
			moved = len(left) < len(b)
			p.count(b, left)
			b = left
		}
		first = false
		if len(b) > 0 {
			if err := p.transmit(ctx, idsOf(b)); err != nil {
				return moved, err
			}
		}
		p.count(b, nil)
		return true, nil
	})
}

// count counts what of a batch is not left.
func (p *pusher) count(b, left []piece) {
	var all, rest Size
	all.add(b)
	rest.add(left)
	p.meter.moved(all.Chunks-rest.Chunks, all.Bytes-rest.Bytes, all.Bytes-rest.Bytes)
}

// transmit makes one request. What the store cannot read, no other try cures.
func (p *pusher) transmit(ctx context.Context, ids []store.ID) error {
	var local error
	err := p.r.Upload(ctx, p.layer, func(emit func([]byte) error) error {
		var remote error
		err := p.st.Frames(ctx, ids, func(frame []byte) error {
			remote = emit(frame)
			return remote
		})
		if remote == nil {
			local = err
		}
		return err
	})
	if local != nil {
		return local
	}
	return err
}

// offer returns which of the chunks the server wants.
func (p *pusher) offer(ctx context.Context, b []piece) ([]piece, error) {
	wants, err := p.r.Offer(ctx, p.layer, idsOf(b))
	if err != nil {
		return nil, err
	}
	if len(wants) != len(b) {
		return nil, fmt.Errorf("%d answers to %d offers: %w", len(wants), len(b), syncer.ErrMalformed)
	}
	var wanted []piece
	for i, want := range wants {
		if want {
			wanted = append(wanted, b[i])
		}
	}
	return wanted, nil
}

// offers gathers chunks, offers many at a time, and hands on those that the
// server wants. A few small ones it hands on without asking.
type offers struct {
	*pusher
	send    func([]piece) error
	small   bool // nothing was offered yet
	pending []piece
	total   int64 // bytes of all
	moved   int64 // bytes of those that went as deltas
}

func (o *offers) add(ctx context.Context, ps []piece) error {
	for _, p := range ps {
		o.total += p.size
		if o.sent.has(p.id) {
			o.moved += p.size
			continue
		}
		if o.pending = append(o.pending, p); len(o.pending) == pageIDs {
			if err := o.flush(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// flush offers what was gathered.
func (o *offers) flush(ctx context.Context) error {
	if len(o.pending) == 0 {
		return nil
	}
	o.small = false
	var wanted []piece
	err := again(ctx, o.meter, func() (_ bool, err error) {
		wanted, err = o.offer(ctx, o.pending)
		return false, err
	})
	if err != nil {
		return err
	}
	var all, rest Size
	all.add(o.pending)
	rest.add(wanted)
	o.meter.found(all.Bytes - rest.Bytes)
	o.meter.want(rest.Bytes)
	o.pending = o.pending[:0]
	return cut(wanted, o.send)
}

// end hands on the rest.
func (o *offers) end(ctx context.Context) error {
	defer o.meter.settle()
	o.meter.of(o.total)
	if o.small && len(o.pending) <= smallIDs && o.total-o.moved <= smallBytes {
		o.meter.want(o.total - o.moved)
		return cut(o.pending, o.send)
	}
	return o.flush(ctx)
}
