package device

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"satchel/layers"
	"satchel/store"
	"satchel/syncer"
	"satchel/syncer/exchange"
)

// ErrNoRoom reports a version that does not fit on this device.
var ErrNoRoom = errors.New("there is no room for it on this device")

// A ledger is the room that a pass may still use.
type ledger struct {
	measured bool
	last     bool // what does not fit by now does not land
	disk     syncer.Disk
	left     int64   // bytes on disk
	ratio    float64 // bytes on disk of a byte of plaintext, about
}

// open measures the room, unless that was done.
func (l *ledger) open(ctx context.Context, d *Device) (err error) {
	if l.measured {
		return nil
	}
	if l.disk, err = DiskOf(d.opt.Home); err != nil {
		return err
	}
	stats, err := d.opt.Store.Stats(ctx)
	if err != nil {
		return err
	}
	l.measured, l.left, l.ratio = true, l.disk.Room(), stats.Ratio()
	return nil
}

// claim takes bytes of the room if they fit.
func (l *ledger) claim(bytes int64) bool {
	if bytes > l.left {
		return false
	}
	l.left -= bytes
	return true
}

// A noRoom says how much more room a version needs.
type noRoom struct {
	need, lacking int64 // bytes on disk, about
	disk          syncer.Disk
}

// Unwrap makes it an [ErrNoRoom].
func (e *noRoom) Unwrap() error { return ErrNoRoom }

func (e *noRoom) Error() string {
	if limit := e.disk.Budget; limit > 0 && limit-e.disk.Used <= e.disk.Free-e.disk.Keep {
		return fmt.Sprintf("%v: it needs %s more than the disk budget of %s leaves: raise that with satchel store budget, or remove what is not needed (satchel workspace rm, satchel layer rm, satchel store gc)",
			ErrNoRoom, syncer.Bytes(e.lacking), syncer.Bytes(limit))
	}
	return fmt.Sprintf("%v: it needs %s more than is free on the disk, of which %s stay free: make room on the disk, or remove what is not needed (satchel workspace rm, satchel layer rm, satchel store gc)",
		ErrNoRoom, syncer.Bytes(e.lacking), syncer.Bytes(e.disk.Keep))
}

// admit returns what asks for room before the contents of a version of a kind of
// layer are fetched. A user's own layers are never turned away in the end:
// nobody's work waits for room.
func (p *pass) admit(ctx context.Context, kind layers.Kind) func(int64, func() (exchange.Size, error)) error {
	claim := func(bytes int64) (bool, error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if err := p.room.open(ctx, p.Device); err != nil {
			return false, err
		}
		return !p.room.last && p.room.claim(bytes), nil // at last it has to be exact
	}
	return func(most int64, measure func() (exchange.Size, error)) error {
		if fits, err := claim(most); fits || err != nil {
			return err
		}
		size, err := measure()
		if err != nil {
			return err
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		need := int64(float64(size.Bytes) * p.room.ratio)
		if size.Chunks == 0 || p.room.claim(need) {
			return nil
		}
		if p.room.last && kind.Writable() {
			p.room.left -= need
			return nil
		}
		return &noRoom{need: need, lacking: need - p.room.left, disk: p.room.disk}
	}
}

// kindOf is the kind of a layer as the server has it.
func (p *pass) kindOf(id store.LayerID) layers.Kind {
	l, _ := p.find(id)
	return l.Kind
}

// A deferred layer waits for room.
type deferred struct {
	head store.Head
	own  bool
	need int64
}

// layers syncs layers, several at a time. Those for which there is no room come
// last, one by one, after old versions were given up for them.
func (p *pass) layers(ctx context.Context, heads []store.Head) error {
	waiting, err := p.some(ctx, heads, layersAtOnce)
	if len(waiting) == 0 || fatal(err) {
		return err
	}
	var need int64
	for _, w := range waiting {
		need += w.need
	}
	if failed := p.makeRoom(ctx, need); failed != nil {
		err = errors.Join(err, failed)
	}
	// The user's own first, and then as many as fit.
	slices.SortFunc(waiting, func(a, b deferred) int {
		switch {
		case a.own == b.own:
			return cmp.Compare(a.need, b.need)
		case a.own:
			return -1
		}
		return 1
	})
	heads = heads[:0:0]
	for _, w := range waiting {
		heads = append(heads, w.head)
	}
	p.room.last = true
	_, last := p.some(ctx, heads, 1)
	return errors.Join(err, last)
}

// defers reports whether a layer is to be tried again when there is room, and
// notes what it needs. The caller holds mu.
func (p *pass) defers(t *task, own bool, err error, to *[]deferred) bool {
	var e *noRoom
	if !errors.As(err, &e) {
		return false
	}
	if !p.room.last {
		*to = append(*to, deferred{t.head, own, e.need})
		return true
	}
	p.lack(t.head.Name, e)
	return false
}

// lack notes for the server what did not fit. The caller holds mu.
func (p *pass) lack(layer string, e *noRoom) {
	p.short += e.lacking
	p.unfit = append(p.unfit, layer)
}

// makeRoom gives up old versions for what is to come, and measures anew.
func (p *pass) makeRoom(ctx context.Context, need int64) error {
	at, err := DiskOf(p.opt.Home)
	if err != nil {
		return err
	}
	if _, err := p.shed(ctx, need-at.Room()); err != nil {
		return err
	}
	p.room = ledger{last: p.room.last}
	return p.room.open(ctx, p.Device)
}

// trim gives up old versions when the home has outgrown its room, unless that
// was of no use before and nothing has changed since.
func (p *pass) trim(ctx context.Context) error {
	at, err := DiskOf(p.opt.Home)
	if err != nil || at.Room() >= 0 {
		return err
	}
	heads, err := p.opt.Store.Heads().List(ctx)
	if err != nil {
		return err
	}
	s := newShedder(p.Device, p.memo.Bases, &p.state)
	needed, err := s.needed(ctx, heads)
	if err != nil {
		return err
	}
	now := scenery{at.Budget, heads, s.bases, s.shown, needed, p.fetched()}
	if reflect.DeepEqual(p.vain, now) {
		return nil
	}
	waiting, err := p.shed(ctx, -at.Room())
	if err != nil {
		return err
	}
	if at, err = DiskOf(p.opt.Home); err == nil && at.Room() < 0 {
		if !waiting {
			p.vain = now
		}
		p.note("this home takes %s more than it may: no old version is left that could go (satchel store evict --dry-run tells why)", syncer.Bytes(-at.Room()))
	}
	return err
}

// A scenery is what decides which versions may go.
type scenery struct {
	budget int64
	heads  []store.Head
	bases  map[store.LayerID]store.ID
	shown  map[store.LayerID]store.ID
	needed map[store.ID]string
	byHand map[store.ID]time.Time
}

// shed gives up old versions, and tells of it. It reports whether more may go
// before long, as when chunks wait for processes that are writing.
func (p *pass) shed(ctx context.Context, want int64) (waiting bool, err error) {
	if want <= 0 {
		return false, nil
	}
	e, err := newShedder(p.Device, p.memo.Bases, &p.state).free(ctx, want, false)
	p.report.Evicted = append(p.report.Evicted, e.Evicted...)
	p.report.Freed += e.Freed
	if errors.Is(err, store.ErrBusy) {
		p.note("no room was made: %v", err)
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("make room: %w", err)
	}
	return e.Waiting > 0 || slices.ContainsFunc(e.Stay, func(o Old) bool { return o.passing }), nil
}

// noteShort keeps what this pass had no room for.
func (p *pass) noteShort() (err error) {
	p.memo.Short = nil
	if len(p.unfit) == 0 {
		return nil
	}
	slices.Sort(p.unfit)
	short, err := DiskOf(p.opt.Home)
	short.Lacking, short.Reason = p.short, "no room for "+strings.Join(slices.Compact(p.unfit), ", ")
	p.memo.Short = &short
	return err
}

// diskReport is what the server is told of the disk. What has hardly changed since it
// was told last is told as it was then.
func (p *pass) diskReport() (*syncer.Disk, error) {
	now, err := DiskOf(p.opt.Home)
	if err != nil {
		return nil, err
	}
	if p.memo.Short != nil {
		now.Lacking, now.Reason = p.memo.Short.Lacking, p.memo.Short.Reason
	}
	if p.memo.Told == nil || p.memo.Told.Disk == nil {
		return &now, nil
	}
	const little = 10 // one part in as many
	told := *p.memo.Told.Disk
	alike := func(a, b int64) bool { return max(a-b, b-a) <= max(a, b)/little }
	if told.Budget == now.Budget && told.Keep == now.Keep && told.Reason == now.Reason && alike(told.Lacking, now.Lacking) &&
		alike(told.Used, now.Used) && alike(told.Free, now.Free) {
		return &told, nil
	}
	return &now, nil
}
