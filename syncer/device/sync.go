package device

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"satchel/store"
	"satchel/syncer"
	"satchel/syncer/publication"
)

// layersAtOnce is how many layers are synced at the same time.
const layersAtOnce = 3

// A pass is one sync, by whoever holds the lock of the home's syncs.
type pass struct {
	*Device
	names []string // of workspaces; none: all; empty but not nil: of none
	lazy  bool     // read-only layers are taken before their contents are here

	mu     sync.Mutex
	state  syncer.State // guarded by mu while layers are synced
	memo   *memo        // the same
	report Report       // the same
	room   ledger       // the same
	short  int64        // the same: bytes on disk that what did not fit needs
	unfit  []string     // the same: layers that did not

	log     *publication.Log       // what publishers say; nil: nothing yet
	unheard error                  // why that is not what the server shows
	stays   map[store.LayerID]bool // layers of which state has the local head, whatever the server has; guarded by mu
	keeps   bool                   // it holds the lock, and so keeps what it learns
	patient bool                   // it waits with what need not be there yet
	due     time.Time              // when some of that begins; zero: nothing waits
}

// Sync brings workspaces and their layers to the state of the server and the
// server to theirs; no names mean all. A layer that fails does not keep the
// others from being synced; the error joins all failures. A second sync of the
// home waits for the first.
func (d *Device) Sync(ctx context.Context, workspaces ...string) (Report, error) {
	return d.sync(ctx, func(ctx context.Context, p *pass) error {
		p.names = append(p.names, workspaces...) // nil when there are none
		return p.all(ctx)
	})
}

// sync makes a pass that does what do says.
func (d *Device) sync(ctx context.Context, do func(context.Context, *pass) error) (Report, error) {
	p := &pass{Device: d}
	err := d.syncBy(ctx, nil, p, do)
	return p.report, err
}

// syncBy is sync for a pass that is there already, from the given state of the
// server, or when that is nil from one that it asks for.
func (d *Device) syncBy(ctx context.Context, heard *syncer.State, p *pass, do func(context.Context, *pass) error) (err error) {
	began, before := time.Now(), d.server().Traffic()
	unlock, err := lock(ctx, d.path(syncLock))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	p.memo, p.keeps = d.loadMemo(), true
	if err := d.renew(ctx); err != nil {
		p.note("%v; it is tried again with the next sync", err) // the old one is still good, or the server will tell
	}
	if heard != nil {
		err = p.hear(ctx, *heard)
	} else {
		err = p.refresh(ctx)
	}
	if err != nil {
		return err
	}
	p.memo.Heard = time.Now().UTC()
	err = do(ctx, p)
	if err == nil && p.names == nil {
		p.memo.Synced = time.Now().UTC()
	}
	if !fatal(err) {
		if p.log != nil && p.unheard == nil {
			err = errors.Join(err, p.switches())
		}
		err = errors.Join(err, p.tell(ctx), p.unheard)
	}
	err = errors.Join(err, p.saveMemo())
	slices.SortFunc(p.report.Layers, func(a, b LayerReport) int { return cmp.Compare(a.Name, b.Name) })
	after := d.server().Traffic()
	p.report.Traffic.Up, p.report.Traffic.Down = after.Up-before.Up, after.Down-before.Down
	p.report.Seconds = time.Since(began).Seconds()
	return err
}

// refresh asks the server for its state.
func (p *pass) refresh(ctx context.Context) error {
	state, err := p.server().State(ctx, "", 0)
	if err != nil {
		return err
	}
	if want := p.membership().Server; state.Server != want {
		return fmt.Errorf("the server says that it is %.80q, not %s: %w", state.Server, want, syncer.ErrMalformed)
	}
	return p.hear(ctx, state)
}

// all syncs the workspaces, and then the layers.
func (p *pass) all(ctx context.Context) error {
	err := p.workspaces(ctx)
	if fatal(err) {
		return err
	}
	heads, listErr := p.wanted(ctx)
	if listErr != nil {
		return errors.Join(err, listErr)
	}
	if err = errors.Join(err, p.layers(ctx, heads)); fatal(err) {
		return err
	}
	if !p.lazy {
		err = errors.Join(err, p.fillThin(ctx))
	}
	if fatal(err) {
		return err
	}
	err = errors.Join(err, p.trim(ctx))
	return errors.Join(err, p.noteShort())
}

// wanted lists the layers to be synced: those that the server knows, of the
// workspaces that were named.
func (p *pass) wanted(ctx context.Context) ([]store.Head, error) {
	heads, err := p.opt.Store.Heads().List(ctx)
	if err != nil {
		return nil, err
	}
	var of map[store.LayerID]bool
	if len(p.names) > 0 {
		of = map[store.LayerID]bool{}
		for _, name := range p.names {
			def, err := p.opt.Workspaces.Load(name)
			if err != nil {
				return nil, err
			}
			for _, place := range def.Stack() {
				of[place.ID] = true
			}
		}
	}
	return slices.DeleteFunc(heads, func(h store.Head) bool {
		_, known := p.find(h.Layer)
		return !known || of != nil && !of[h.Layer]
	}), nil
}

// some syncs layers, so many at a time. It returns those for which there was no
// room yet.
func (p *pass) some(ctx context.Context, heads []store.Head, atOnce int) (waiting []deferred, err error) {
	var failed []error
	var stop error // what makes it useless to try further layers
	var g errgroup.Group
	g.SetLimit(atOnce)
	for _, head := range heads {
		g.Go(func() error {
			t := &task{pass: p, head: head, report: LayerReport{Layer: head.Layer, Name: head.Name}}
			p.mu.Lock()
			err := stop
			p.mu.Unlock()
			if err == nil {
				err = t.run(ctx)
			}
			own := p.kindOf(head.Layer).Writable()
			p.mu.Lock()
			defer p.mu.Unlock()
			if p.defers(t, own, err, &waiting) {
				return nil
			}
			if err != nil {
				t.report.Error = err.Error()
				if stop == nil {
					failed = append(failed, fmt.Errorf("layer %s: %w", head.Name, err))
				}
				if fatal(err) {
					stop = err
				}
			}
			p.report.Layers = append(p.report.Layers, t.report)
			return nil
		})
	}
	err = g.Wait()
	return waiting, errors.Join(err, errors.Join(failed...))
}

// fatal reports an error that is not of one layer alone.
func fatal(err error) bool {
	return errors.Is(err, syncer.ErrUnavailable) || lasting(err) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// lasting reports an error that no further try will cure.
func lasting(err error) bool {
	for _, e := range []error{syncer.ErrCertificate, syncer.ErrExpired, syncer.ErrRevoked, syncer.ErrProtocol} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// find returns a layer as the server has it.
func (p *pass) find(id store.LayerID) (syncer.Layer, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.state.Layers {
		if l.ID == id {
			return l, true
		}
	}
	return syncer.Layer{}, false
}

func (p *pass) note(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.add(fmt.Sprintf(format, args...))
}

// add is note for who holds mu. A state that is heard again says the same again.
func (p *pass) add(note string) {
	if !slices.Contains(p.report.Notes, note) {
		p.report.Notes = append(p.report.Notes, note)
	}
}

// changed notes a workspace that was brought up to date, here or there.
func (p *pass) changed(name string) {
	if !slices.Contains(p.report.Workspaces, name) {
		p.report.Workspaces = append(p.report.Workspaces, name)
	}
}
