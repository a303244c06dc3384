package device

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"satchel/layers/repo"
	"satchel/store"
	"satchel/syncer"
	"satchel/syncer/exchange"
)

// How often a layer is tried when heads move under the sync, and the longest
// pause in between.
const (
	maxTries = 20
	maxPause = 250 * time.Millisecond
)

// pause waits a while, so that devices that got in each other's way do not do
// so again.
func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(rand.N(maxPause)):
		return nil
	}
}

// A task is the sync of one layer.
type task struct {
	*pass
	head   store.Head // as it was found; only its layer and name are relied upon
	report LayerReport
	done   exchange.Progress // of exchanges that have ended
	now    exchange.Progress // of the one that runs
}

// run syncs the layer, and starts over when a head moves meanwhile: the
// server's, by another device, or the local one, by a capture. The server's may
// also have moved on from what this device pushed, if the answer to that was
// lost.
func (t *task) run(ctx context.Context) error {
	for try := 1; ; try++ {
		remote, ok := t.find(t.head.Layer)
		if !ok {
			return fmt.Errorf("the server no longer has it: %w", syncer.ErrForbidden)
		}
		err := t.once(ctx, remote)
		moved := errors.Is(err, store.ErrMoved) || errors.Is(err, syncer.ErrReplayed)
		if !moved || try == maxTries {
			return err
		}
		if err := pause(ctx); err != nil {
			return err
		}
		if err := t.refresh(ctx); err != nil {
			return err
		}
	}
}

// once looks at both heads and does what they ask for.
func (t *task) once(ctx context.Context, remote syncer.Layer) (err error) {
	head, err := t.opt.Store.Heads().Head(ctx, t.head.Layer)
	if err != nil {
		return err
	}
	if head.Version == remote.Version {
		t.found(syncer.Equal)
		t.agree(head.Version)
		return nil
	}
	w, err := t.opt.Store.Begin(ctx, "sync layer "+head.Name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	if head, err = t.opt.Store.Heads().Head(ctx, head.Layer); err != nil { // again, under the lease
		return err
	}
	m := meeting{task: t, w: w, head: head, access: remote.Access, local: head.Version, remote: remote.Version}
	if err := m.compare(ctx); err != nil {
		return err
	}
	t.found(m.relation)
	return m.settle(ctx)
}

func (t *task) found(r syncer.Relation) {
	if t.report.Found == "" {
		t.report.Found = r
	}
}

// agree notes the head that both sides have now, unless the server's is not known.
func (t *task) agree(version store.ID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.stays[t.head.Layer] {
		t.memo.Bases[t.head.Layer] = version
	}
	for i := range t.state.Layers {
		if t.state.Layers[i].ID == t.head.Layer {
			t.state.Layers[i].Version = version
		}
	}
}

// agreed returns the head that both sides had after an earlier sync.
func (t *task) agreed() store.ID {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.memo.Bases[t.head.Layer]
}

// exchange returns the options of an exchange, which ends with the function.
func (t *task) exchange() (exchange.Options, func()) {
	show := func(p exchange.Progress) {
		t.now = p
		t.report.Moved = sum(t.done, t.now)
		t.opt.Progress(t.head.Name, t.report.Moved)
	}
	return exchange.Options{Progress: show, Deltas: t.opt.Deltas}, func() { t.done, t.now = sum(t.done, t.now), exchange.Progress{} }
}

func sum(a, b exchange.Progress) exchange.Progress {
	return exchange.Progress{
		Chunks: a.Chunks + b.Chunks, Bytes: a.Bytes + b.Bytes, Done: a.Done + b.Done,
		Total: a.Total + b.Total, Retries: a.Retries + b.Retries,
	}
}

// A meeting is the two heads of one layer, under a writer's lease.
type meeting struct {
	*task
	w             store.Writer
	head          store.Head
	access        syncer.Access
	local, remote store.ID
	base          store.ID
	relation      syncer.Relation
	theirs        []store.ID // what the remote history holds beyond the local one, newest first
	records       []store.ID // of those, the ones of which only the record is here
}

// compare finds the base, for which it fetches the records of the server's
// history if need be, and thereby how the heads stand.
func (m *meeting) compare(ctx context.Context) error {
	st := m.opt.Store
	known, err := descends(ctx, st, m.local, m.remote)
	if err != nil {
		return err
	}
	switch {
	case known:
		m.base = m.remote
	case !m.remote.IsZero():
		have, err := m.have(ctx)
		if err != nil {
			return err
		}
		kept, err := m.kept(ctx) // before records come
		if err != nil {
			return err
		}
		opt, end := m.exchange()
		m.theirs, err = exchange.History(ctx, st, m.w, m.server(), m.head.Layer, m.remote, have, opt)
		end()
		if err == nil {
			err = m.w.Flush(ctx)
		}
		m.records = slices.DeleteFunc(slices.Clone(m.theirs), func(id store.ID) bool { return kept[id] })
		if err == nil {
			m.base, err = repo.Base(ctx, st, m.local, m.remote)
		}
		if err != nil {
			return err
		}
	}
	m.relation = syncer.Reconcile(m.base, m.local, m.remote)
	return nil
}

// kept returns versions that are whole here whether a head leads to them or not, as
// after their layer went back to an older one: what a session reads, or a workspace
// may go back to.
func (m *meeting) kept(ctx context.Context) (map[store.ID]bool, error) {
	held := func() ([]store.ID, error) { return m.opt.Store.Held(ctx) }
	return m.present(ctx, held, m.opt.Workspaces.Kept, m.opt.Workspaces.Roots)
}

// present tells of all that are named whether they are here.
func (d *Device) present(ctx context.Context, named ...func() ([]store.ID, error)) (map[store.ID]bool, error) {
	var all []store.ID
	for _, ask := range named {
		ids, err := ask()
		if err != nil {
			return nil, err
		}
		all = append(all, ids...)
	}
	has, err := d.opt.Store.Has(ctx, all)
	if err != nil {
		return nil, err
	}
	here := map[store.ID]bool{}
	for i, id := range all {
		here[id] = has[i]
	}
	return here, nil
}

// have returns versions from which on the server need not send history: the
// local head, and one of its history that the server knows for certain. What
// both sides had once may be gone here, with a layer that was removed.
func (m *meeting) have(ctx context.Context) ([]store.ID, error) {
	if m.local.IsZero() {
		return nil, nil
	}
	agreed := m.agreed()
	known, err := descends(ctx, m.opt.Store, m.local, agreed)
	if err != nil || !known || agreed.IsZero() || agreed == m.local {
		return []store.ID{m.local}, err
	}
	return []store.ID{m.local, agreed}, nil
}

// descends reports whether from is in the history of version. What is not here
// is in no history of this store's.
func descends(ctx context.Context, g store.Getter, version, from store.ID) (bool, error) {
	if version.IsZero() || from.IsZero() {
		return from.IsZero(), nil
	}
	ok, err := repo.Descends(ctx, g, version, from)
	if errors.Is(err, store.ErrNotExist) {
		return false, nil
	}
	return ok, err
}

// settle does what the relation of the heads asks for.
func (m *meeting) settle(ctx context.Context) error {
	readOnly := m.access != syncer.Write
	if !readOnly && (m.relation == syncer.Ahead || m.relation == syncer.Diverged) {
		if err := m.mend(ctx); err != nil {
			return err
		}
	}
	switch m.relation {
	case syncer.Equal:
		m.agree(m.local)
		return nil
	case syncer.Behind:
		return m.pull(ctx)
	case syncer.Ahead:
		if readOnly {
			return m.yield(ctx)
		}
		return m.push(ctx, m.local)
	case syncer.Diverged:
		if readOnly {
			return m.yield(ctx)
		}
		merged, err := m.merge(ctx)
		if err != nil {
			return err
		}
		return m.push(ctx, merged)
	}
	return fmt.Errorf("unknown relation %q", m.relation)
}

// pull fetches the server's version and moves the local head to it.
func (m *meeting) pull(ctx context.Context) error {
	if m.lazily() {
		return m.pullThin(ctx)
	}
	if err := m.fetch(ctx, m.remote); err != nil {
		return err
	}
	if err := m.opt.Store.Heads().CompareAndSwap(ctx, m.moveTo(m.remote)); err != nil {
		return err
	}
	m.report.Pulled = m.remote
	m.agree(m.remote)
	return nil
}

// fetch brings the contents of a version of which the record is here.
func (m *meeting) fetch(ctx context.Context, version store.ID) error {
	held, err := m.held(ctx, version, m.local)
	if err != nil {
		return err
	}
	opt, end := m.exchange()
	defer end()
	opt.Admit = m.admit(ctx, m.kindOf(m.head.Layer))
	return exchange.Contents(ctx, m.opt.Store, m.w, m.anyLayer(), m.head.Layer, version, held, opt)
}

// moveTo returns the move of the local head to a version that descends from the
// server's, or is it, and is whole.
func (m *meeting) moveTo(to store.ID) store.Move {
	return store.Move{
		Layer: m.head.Layer, From: m.local, To: to, Whole: true,
		Partial: slices.DeleteFunc(slices.Clone(m.records), func(id store.ID) bool { return id == m.remote }), // whose contents were fetched
	}
}

// push sends the local version to, which the local head is at.
func (m *meeting) push(ctx context.Context, to store.ID) error {
	if err := m.whole(ctx); err != nil {
		return err
	}
	opt, end := m.exchange()
	defer end()
	if err := exchange.Push(ctx, m.opt.Store, m.server(), m.head.Layer, m.remote, to, opt); err != nil {
		return err
	}
	m.report.Pushed = to
	m.agree(to)
	return nil
}

// whole sees to it that the server's version, which a push goes on from, is
// whole here. It is not when the server was set back to an older one.
func (m *meeting) whole(ctx context.Context) error {
	lacking, err := m.lacking(ctx, m.remote)
	if err != nil || !lacking {
		return err
	}
	return m.complete(ctx, m.remote)
}

// complete fetches the contents of a version that was partial.
func (m *meeting) complete(ctx context.Context, version store.ID) error {
	if err := m.fetch(ctx, version); err != nil {
		return err
	}
	return m.opt.Store.Heads().Complete(ctx, version)
}
