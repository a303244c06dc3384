package repo

import (
	"bytes"
	"container/heap"
	"context"
	"errors"
	"time"

	"satchel/layers/manifest"
	"satchel/store"
)

// Base returns the newest version that is in the history of both a and b, each
// of which counts to its own history, or zero when there is none. Of several
// that do not descend from each other it is the one made last. Only records of
// versions are read. A zero ID has no history.
//
// How many are read depends on how far back the base is, if clocks are right;
// the result does not depend on clocks.
func Base(ctx context.Context, g store.Getter, a, b store.ID) (store.ID, error) {
	if a == b || a.IsZero() || b.IsZero() {
		if a == b {
			return a, nil
		}
		return store.ID{}, nil
	}
	s := newSearch(ctx, g)
	if err := errors.Join(s.paint(a, ofA), s.paint(b, ofB)); err != nil {
		return store.ID{}, err
	}
	for s.open > 0 || s.candidates > 1 && s.queue.Len() > 0 {
		if err := s.step(); err != nil {
			return store.ID{}, err
		}
	}
	return s.newest(), nil
}

// Descends reports whether from is in the history of version, itself included.
// Everything descends from the zero ID.
func Descends(ctx context.Context, g store.Getter, version, from store.ID) (bool, error) {
	if from.IsZero() || version == from {
		return true, nil
	}
	if version.IsZero() {
		return false, nil
	}
	s := newSearch(ctx, g)
	if err := errors.Join(s.paint(version, ofA), s.paint(from, ofB)); err != nil {
		return false, err
	}
	last := s.versions[from]
	for s.open > 0 && last.paint&ofA == 0 {
		if err := s.step(); err != nil {
			return false, err
		}
	}
	return last.paint&ofA != 0, nil
}

// What is known of a version: it is in the history of a, of b, or of a version
// that is in both.
const (
	ofA uint8 = 1 << iota
	ofB
	ofCommon
)

// A search paints two histories from their ends on, the newest versions first.
// What has both colours is in both histories, and makes what it descends from
// ofCommon. A version that gains a colour is looked at again, so a wrong clock
// costs time, but no colour is lost. When all that is still to be looked at is
// ofCommon, the newest common versions have been found, and perhaps some that
// those descend from by way of others: while there are several, the search goes
// on for as long as it takes to tell.
//
// It is the search for merge bases of git's commit-reach.c, but that git leaves
// the last step to a second search.
type search struct {
	ctx      context.Context
	get      store.Getter
	versions map[store.ID]*painted
	queue    paintedQueue
	open     int        // versions in the queue that are not ofCommon
	common   []*painted // those that got both colours

	// candidates counts the common versions that are not known to be in the
	// history of another.
	candidates int
}

// painted is a version that a search has met.
type painted struct {
	id      store.ID
	time    time.Time
	parents []store.ID
	paint   uint8
	queued  bool
	common  bool // is in the search's list of common ones
}

func newSearch(ctx context.Context, g store.Getter) *search {
	return &search{ctx: ctx, get: g, versions: map[store.ID]*painted{}}
}

// paint adds colours to a version and queues it if it had not all of them.
func (s *search) paint(id store.ID, colours uint8) error {
	v := s.versions[id]
	if v == nil {
		rec, err := manifest.ReadVersion(s.ctx, s.get, id)
		if err != nil {
			return err
		}
		v = &painted{id: id, time: rec.Time, parents: rec.Parents}
		s.versions[id] = v
	}
	if v.paint|colours == v.paint {
		return nil
	}
	was := v.isOpen()
	if v.common && v.paint&ofCommon == 0 && colours&ofCommon != 0 {
		s.candidates--
	}
	v.paint |= colours
	if !v.queued {
		v.queued = true
		heap.Push(&s.queue, v)
	}
	if is := v.isOpen(); is != was {
		if is {
			s.open++
		} else {
			s.open--
		}
	}
	return nil
}

// isOpen reports whether a version counts as open.
func (v *painted) isOpen() bool { return v.queued && v.paint&ofCommon == 0 }

// step looks at the newest version that is to be looked at.
func (s *search) step() error {
	v := heap.Pop(&s.queue).(*painted) //nolint:errcheck,forcetypeassert // it holds nothing else
	if v.isOpen() {
		s.open--
	}
	v.queued = false
	colours := v.paint
	if colours&(ofA|ofB) == ofA|ofB {
		if colours&ofCommon == 0 && !v.common {
			v.common = true
			s.common = append(s.common, v)
			s.candidates++
		}
		colours |= ofCommon
	}
	for _, id := range v.parents {
		if err := s.paint(id, colours); err != nil {
			return err
		}
	}
	return nil
}

// newest returns the candidate that was made last. Among equals the IDs decide,
// so that all devices choose the same.
func (s *search) newest() store.ID {
	var best *painted
	for _, v := range s.common {
		if v.paint&ofCommon == 0 && (best == nil || v.newer(best)) {
			best = v
		}
	}
	if best == nil {
		return store.ID{}
	}
	return best.id
}

func (v *painted) newer(o *painted) bool {
	if c := v.time.Compare(o.time); c != 0 {
		return c > 0
	}
	return bytes.Compare(v.id[:], o.id[:]) > 0
}

// paintedQueue is a heap with the newest version first.
type paintedQueue []*painted

func (q paintedQueue) Len() int           { return len(q) }
func (q paintedQueue) Less(i, j int) bool { return q[i].newer(q[j]) }
func (q paintedQueue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }

// Push implements [heap.Interface].
func (q *paintedQueue) Push(x any) { *q = append(*q, x.(*painted)) } //nolint:errcheck,forcetypeassert // only this file pushes

// Pop implements [heap.Interface].
func (q *paintedQueue) Pop() any {
	last := len(*q) - 1
	v := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return v
}
