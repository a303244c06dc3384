package device

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"satchel/store"
	"satchel/syncer"
)

// evictions is how often room is looked for, as what gc frees is known only
// when it has been.
const evictions = 3

// An Old is a version that is here and no head.
type Old struct {
	Layer   string    `json:"layer"` // its name
	Version store.ID  `json:"version"`
	Used    time.Time `json:"used"`             // when it was made, or last fetched by hand
	Bytes   int64     `json:"bytes,omitempty"`  // on disk, about, that go with it and all that are older
	Reason  string    `json:"reason,omitempty"` // why it has to stay

	layer   store.LayerID
	passing bool // the reason will not last
}

// An Eviction tells what was given up to make room, or would be.
type Eviction struct {
	Evicted []Old       `json:"evicted"` // the oldest first
	Stay    []Old       `json:"stay"`    // what is old and must not go
	Freed   int64       `json:"freed"`   // bytes on disk; of a trial, about
	Lacking int64       `json:"lacking"` // bytes that could not be freed
	Waiting int64       `json:"waiting"` // chunks that gc keeps for processes that are writing
	Disk    syncer.Disk `json:"disk"`    // afterwards
}

// Evict gives up old versions until the home is within a budget, in bytes on
// disk; 0 means that of the home. A trial only tells what would be done. Only
// versions that the server has go, the oldest first. It waits for a sync that
// runs.
func (d *Device) Evict(ctx context.Context, budget int64, trial bool) (Eviction, error) {
	return d.evict(ctx, trial, func(at syncer.Disk) int64 {
		if budget > 0 {
			at.Budget = budget
		}
		return -at.Room()
	})
}

// evictFor gives up old versions for bytes on disk that are to come, if that
// makes enough room.
func (d *Device) evictFor(ctx context.Context, bytes int64) (Eviction, error) {
	want := func(at syncer.Disk) int64 { return bytes - at.Room() }
	if e, err := d.evict(ctx, true, want); err != nil || e.Lacking > 0 {
		return Eviction{}, err
	}
	return d.evict(ctx, false, want)
}

// evict gives up old versions until as much is free as is wanted of a disk.
func (d *Device) evict(ctx context.Context, trial bool, want func(syncer.Disk) int64) (e Eviction, err error) {
	unlock, err := lock(ctx, d.path(syncLock))
	if err != nil {
		return e, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	at, err := DiskOf(d.opt.Home)
	if err != nil {
		return e, err
	}
	m := d.loadMemo()
	return newShedder(d, m.Bases, &m.State).free(ctx, want(at), trial)
}

// A shedder finds old versions to give up. Whoever has one holds the lock of
// the home's syncs.
type shedder struct {
	*Device
	bases map[store.LayerID]store.ID // the heads that both sides had
	shown map[store.LayerID]store.ID // the heads that the server shows now, as far as is known
}

func newShedder(d *Device, bases map[store.LayerID]store.ID, shown *syncer.State) *shedder {
	s := &shedder{Device: d, bases: maps.Clone(bases), shown: map[store.LayerID]store.ID{}}
	for _, l := range shown.Layers {
		s.shown[l.ID] = l.Version
	}
	return s
}

// free makes room for so many bytes on disk, as far as that can be done.
func (s *shedder) free(ctx context.Context, want int64, trial bool) (e Eviction, err error) {
	e.Evicted, e.Stay = []Old{}, []Old{}
	if e.Disk, err = DiskOf(s.opt.Home); err != nil {
		return e, err
	}
	for range evictions {
		found, err := s.survey(ctx)
		if err != nil {
			return e, err
		}
		e.Stay = found.stay
		e.Lacking = max(want-e.Freed, 0)
		chosen, freed := found.choose(e.Lacking)
		if e.Lacking == 0 || freed == 0 {
			return e, nil
		}
		if trial {
			e.Evicted, e.Freed, e.Lacking = chosen, freed, max(want-freed, 0)
			return e, nil
		}
		before := e.Disk.Used
		more, err := s.shed(ctx, chosen, &e)
		if err != nil {
			return e, err
		}
		if e.Disk, err = DiskOf(s.opt.Home); err != nil {
			return e, err
		}
		e.Freed += before - e.Disk.Used
		e.Lacking = max(want-e.Freed, 0)
		if !more || before <= e.Disk.Used {
			return e, nil
		}
	}
	return e, nil
}

// shed evicts versions and collects what only they needed. It reports whether
// to try once more is of use.
func (s *shedder) shed(ctx context.Context, chosen []Old, e *Eviction) (more bool, err error) {
	versions := map[store.ID]store.LayerID{}
	for _, o := range chosen {
		versions[o.Version] = o.layer
	}
	st, set := s.opt.Store, s.opt.Workspaces
	evicted, err := st.Evict(ctx, versions, set.Kept, set.Foundations)
	if err != nil {
		return false, err
	}
	for _, o := range chosen {
		if slices.Contains(evicted, o.Version) {
			e.Evicted = append(e.Evicted, o)
		} else {
			o.Bytes, o.Reason, o.passing = 0, "something that runs reads it", true
			e.Stay = append(e.Stay, o)
		}
	}
	res, err := st.Shrink(ctx, s.opt.Repo.Walker(), set.Kept, set.Roots)
	e.Waiting = res.Condemned
	return res.Condemned == 0 && len(evicted) == len(chosen), err
}
