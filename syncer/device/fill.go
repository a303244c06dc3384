package device

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"satchel/layers/manifest"
	"satchel/store"
	"satchel/syncer"
	"satchel/syncer/exchange"
)

// fillRetry is how soon a fill that was put off is tried again, and paceFor how
// long what it said of its pace counts.
const (
	fillRetry = 30 * time.Second
	paceFor   = 15 * time.Second
	paceEvery = time.Second
)

// Fill fetches what thin versions lack, until nothing is left or ctx is done. It
// asks before each request, and for each frame, whether it may go on; wait may
// hold it up as long as it likes. It fails with [store.ErrBusy] while another
// process fills this home.
func (d *Device) Fill(ctx context.Context, wait func(context.Context) error) error {
	p := &pass{Device: d, memo: d.loadMemo()}
	p.state = p.memo.State
	unlock, err := tryLock(d.path(fillLock))
	if err != nil {
		return err
	}
	return errors.Join(p.fillAll(ctx, wait), unlock())
}

// fillThin completes thin versions as a part of a sync, unless a session does.
func (p *pass) fillThin(ctx context.Context) error {
	thin, err := p.opt.Store.Heads().Thin(ctx)
	if err != nil || len(thin) == 0 {
		return err
	}
	unlock, err := tryLock(p.path(fillLock))
	if errors.Is(err, store.ErrBusy) {
		return nil // a session fetches what it needs, and then the rest
	}
	if err != nil {
		return err
	}
	return errors.Join(p.fillWithin(ctx), unlock())
}

// fillWithin completes thin versions, and makes room for them if need be.
func (p *pass) fillWithin(ctx context.Context) error {
	err := p.fillAll(ctx, nil)
	var short *noRoom
	if !errors.As(err, &short) {
		return err
	}
	if err := p.makeRoom(ctx, short.need); err != nil {
		return err
	}
	p.room.last = true
	if err = p.fillAll(ctx, nil); errors.As(err, &short) {
		p.lack("files that are still to come", short)
	}
	return err
}

// Unfilled reports whether thin versions are left.
func (d *Device) Unfilled(ctx context.Context) bool {
	thin, err := d.opt.Store.Heads().Thin(ctx)
	return err == nil && len(thin) > 0
}

// fillAll completes thin versions: first those that heads are at. One for which there
// is no room does not keep the others away.
func (p *pass) fillAll(ctx context.Context, wait func(context.Context) error) error {
	heads, err := p.opt.Store.Heads().List(ctx)
	if err != nil {
		return err
	}
	thin, err := p.opt.Store.Heads().Thin(ctx)
	if err != nil {
		return err
	}
	at := map[store.ID]store.Head{}
	for _, h := range heads {
		at[h.Version] = h
	}
	order := make([]store.ID, 0, len(thin))
	for id := range thin {
		order = append(order, id)
	}
	slices.SortFunc(order, func(a, b store.ID) int {
		_, first := at[a]
		_, second := at[b]
		if first != second && first {
			return -1
		} else if first != second {
			return 1
		}
		return bytes.Compare(a[:], b[:])
	})
	defer os.Remove(p.path(paceFile)) //nolint:errcheck // it is out of date soon
	var unfit []error
	for _, id := range order {
		err := p.fillVersion(ctx, thin[id], id, wait)
		if errors.Is(err, ErrNoRoom) {
			unfit = append(unfit, err)
		} else if err != nil {
			return errors.Join(append(unfit, err)...)
		}
	}
	return errors.Join(unfit...)
}

// fillVersion completes a thin version. The mark of one that no head's history
// holds any more is given up when it cannot be had.
func (p *pass) fillVersion(ctx context.Context, layer store.LayerID, version store.ID, wait func(context.Context) error) (err error) {
	w, err := p.opt.Store.Begin(ctx, "fetch the contents of version "+version.Short())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	thin, err := p.opt.Store.Heads().Thin(ctx)
	if _, still := thin[version]; err != nil || !still {
		return err // it was filled, or evicted, by another process
	}
	head, err := p.opt.Store.Heads().Head(ctx, layer)
	if errors.Is(err, store.ErrNotExist) {
		return p.opt.Store.Heads().Complete(ctx, version)
	}
	if err != nil {
		return err
	}
	known, err := descends(ctx, p.opt.Store, head.Version, version)
	if err != nil {
		return err
	}
	err = p.fetchThin(ctx, w, head, version, wait)
	if gone := errors.Is(err, syncer.ErrForbidden) || errors.Is(err, store.ErrNotExist); gone && !known {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("layer %s: %w", head.Name, err)
	}
	return p.opt.Store.Heads().Complete(ctx, version)
}

// fetchThin fetches what a thin version of a layer lacks.
func (p *pass) fetchThin(ctx context.Context, w store.Writer, head store.Head, version store.ID, wait func(context.Context) error) error {
	v, err := manifest.ReadVersion(ctx, p.opt.Store, version)
	if err != nil {
		return err
	}
	held, err := p.held(ctx, version, append([]store.ID{head.Version}, v.Parents...)...)
	if err != nil {
		return err
	}
	remote := p.anyLayer()
	if wait != nil {
		remote = &polite{remote, wait}
	}
	pace := &pacer{path: p.path(paceFile), began: time.Now()}
	opt := exchange.Options{Deltas: p.opt.Deltas, Admit: p.admit(ctx, v.Kind), Progress: func(x exchange.Progress) {
		p.opt.Progress(head.Name, x)
		pace.tell(x.Bytes)
	}}
	return exchange.Contents(ctx, p.opt.Store, w, remote, head.Layer, version, held, opt)
}

// polite is a remote that lets others go first.
type polite struct {
	syncer.Remote
	wait func(context.Context) error
}

// Fetch implements [syncer.Remote].
func (r *polite) Fetch(ctx context.Context, layer store.LayerID, ids []store.ID, frame func([]byte) error) error {
	if err := r.wait(ctx); err != nil {
		return err
	}
	return r.Remote.Fetch(ctx, layer, ids, func(b []byte) error {
		// What is not taken from the connection holds the server back.
		if err := r.wait(ctx); err != nil {
			return err
		}
		return frame(b)
	})
}

// Deltas implements [syncer.Remote].
func (r *polite) Deltas(ctx context.Context, layer store.LayerID, pairs []syncer.Pair, delta func(int, syncer.Delta) error, sketch func(int, syncer.Sketch) error) error {
	if err := r.wait(ctx); err != nil {
		return err
	}
	return r.Remote.Deltas(ctx, layer, pairs, func(i int, d syncer.Delta) error {
		if err := r.wait(ctx); err != nil {
			return err
		}
		return delta(i, d)
	}, sketch)
}

// A pacer tells other processes how fast a fill goes. What it says is out of date
// soon, so nothing depends on it.
type pacer struct {
	path  string
	began time.Time
	last  time.Time
}

// pace is what a pacer has said.
type pace struct {
	At   time.Time `json:"at"`
	Rate int64     `json:"rate"` // bytes a second
}

func (p *pacer) tell(bytes int64) {
	now := time.Now()
	if now.Sub(p.last) < paceEvery || now.Sub(p.began) < paceEvery {
		return
	}
	p.last = now
	b, err := json.Marshal(pace{now, int64(float64(bytes) / now.Sub(p.began).Seconds())})
	if err != nil {
		return
	}
	tmp := p.path + ".tmp"
	if os.WriteFile(tmp, b, 0o600) == nil {
		_ = os.Rename(tmp, p.path)
	}
}

// pace returns the bytes a second of a fill that runs.
func (d *Device) pace() int64 {
	var p pace
	b, err := os.ReadFile(d.path(paceFile))
	if err != nil || json.Unmarshal(b, &p) != nil || time.Since(p.At) > paceFor {
		return 0
	}
	return max(p.Rate, 0)
}

// left tells of a version that is thin what it consists of and what is missing.
func (p *pass) left(ctx context.Context, version store.ID) (all, left exchange.Size, err error) {
	thin, err := p.opt.Store.Heads().Thin(ctx)
	if _, ok := thin[version]; !ok || err != nil {
		return all, left, err
	}
	all, left, err = exchange.Left(ctx, p.opt.Store, version)
	if err == nil && left.Chunks == 0 {
		left.Chunks = 1 // all has come, but nobody has made sure of it yet
	}
	return all, left, err
}

// filling adds up what layers lack.
type filling struct {
	all, left int64
	thin      bool
}

func (f *filling) add(l *LayerStatus) {
	f.all += l.All.Bytes
	f.left += l.Left.Bytes
	f.thin = f.thin || l.Left.Chunks > 0
}

func (f *filling) told(rate int64) *Fill {
	if !f.thin {
		return nil
	}
	out := &Fill{Left: f.left, Rate: rate, Percent: 100 * float64(f.all-f.left) / float64(max(f.all, 1))}
	if rate > 0 {
		out.Seconds = float64(f.left) / float64(rate)
	}
	return out
}
