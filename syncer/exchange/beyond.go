package exchange

import (
	"bytes"
	"container/heap"
	"context"
	"slices"
	"time"

	"satchel/store"
)

// A note is what a history is walked by.
type note struct {
	parents []store.ID
	time    time.Time
}

// A reader of notes reports whether the record of a version is there.
type noteReader func(ctx context.Context, id store.ID) (n note, found bool, err error)

// beyond returns the versions beyond those in have that tip's history holds,
// parents before children, as far as their records are there, and the ones it
// met whose records are not.
//
// It goes from the newest to the oldest and stops where only history of have is
// left to be seen. With wrong clocks it may therefore take a version of that for
// one beyond; who cannot bear that asks history.
func beyond(ctx context.Context, read noteReader, tip store.ID, have []store.ID) (found, missing []store.ID, err error) {
	s := &painter{ctx: ctx, read: read, marks: map[store.ID]*mark{}}
	for _, id := range have {
		if err := s.meet(id, true); err != nil {
			return nil, nil, err
		}
	}
	if err := s.meet(tip, false); err != nil {
		return nil, nil, err
	}
	for s.open > 0 {
		m := heap.Pop(&s.queue).(*mark) //nolint:errcheck,forcetypeassert // it holds nothing else
		m.queued = false
		if !m.known {
			s.open--
		}
		for _, id := range m.parents {
			if err := s.meet(id, m.known); err != nil {
				return nil, nil, err
			}
		}
	}
	return s.beyond(tip), s.missing, nil
}

// A mark is a version that a painter has met.
type mark struct {
	note
	id     store.ID
	known  bool // in the history of have
	queued bool
}

// A painter walks a history and marks what is known.
type painter struct {
	ctx     context.Context
	read    noteReader
	marks   map[store.ID]*mark // nil: no record
	missing []store.ID
	queue   markQueue
	open    int // marks in the queue that are not known
}

// meet queues a version that was not met before, and marks it.
func (s *painter) meet(id store.ID, known bool) error {
	if id.IsZero() {
		return nil
	}
	m, met := s.marks[id]
	if !met {
		n, found, err := s.read(s.ctx, id)
		if err != nil {
			return err
		}
		if !found {
			s.marks[id] = nil
			if !known {
				s.missing = append(s.missing, id)
			}
			return nil
		}
		m = &mark{note: n, id: id, known: known, queued: true}
		s.marks[id] = m
		heap.Push(&s.queue, m)
		if !known {
			s.open++
		}
		return nil
	}
	if m != nil && known {
		s.paint(m)
	}
	return nil
}

// paint marks a version as known, and what was met of its history.
func (s *painter) paint(m *mark) {
	for todo := []*mark{m}; len(todo) > 0; {
		m, todo = todo[len(todo)-1], todo[:len(todo)-1]
		if m.known {
			continue
		}
		m.known = true
		if m.queued {
			s.open--
		}
		for _, id := range m.parents {
			if p := s.marks[id]; p != nil {
				todo = append(todo, p)
			}
		}
	}
}

// beyond returns the versions that are not known, parents before children.
func (s *painter) beyond(tip store.ID) []store.ID {
	var order []store.ID
	done := idSet{}
	for todo := []store.ID{tip}; len(todo) > 0; {
		id := todo[len(todo)-1]
		m := s.marks[id]
		if m == nil || m.known || done.has(id) {
			todo = todo[:len(todo)-1]
			continue
		}
		n := len(todo)
		for _, p := range m.parents {
			if q := s.marks[p]; q != nil && !q.known && !done.has(p) {
				todo = append(todo, p)
			}
		}
		if len(todo) == n {
			done.add(id)
			order = append(order, id)
			todo = todo[:n-1]
		}
	}
	return order
}

// history returns all versions in the histories of tips whose records are
// there. It calls met with each and stops when that returns false.
func history(ctx context.Context, read noteReader, tips []store.ID, met func(store.ID) bool) error {
	seen := idSet{}
	for todo := slices.Clone(tips); len(todo) > 0; {
		id := todo[0]
		todo = todo[1:]
		if id.IsZero() || !seen.add(id) {
			continue
		}
		n, found, err := read(ctx, id)
		if err != nil {
			return err
		}
		if !found {
			continue
		}
		if !met(id) {
			return nil
		}
		todo = append(todo, n.parents...)
	}
	return nil
}

// without returns the versions that are not in the histories of have, however
// wrong clocks are.
func without(ctx context.Context, read noteReader, versions, have []store.ID) ([]store.ID, error) {
	known := idSet{}
	err := history(ctx, read, have, func(id store.ID) bool { return known.add(id) })
	return slices.DeleteFunc(versions, known.has), err
}

// markQueue is a heap with the newest version first.
type markQueue []*mark

func (q markQueue) Len() int      { return len(q) }
func (q markQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q markQueue) Less(i, j int) bool {
	if c := q[i].time.Compare(q[j].time); c != 0 {
		return c > 0
	}
	return bytes.Compare(q[i].id[:], q[j].id[:]) > 0
}

// Push implements [heap.Interface].
func (q *markQueue) Push(x any) { *q = append(*q, x.(*mark)) } //nolint:errcheck,forcetypeassert // only this file pushes

// Pop implements [heap.Interface].
func (q *markQueue) Pop() any {
	last := len(*q) - 1
	m := (*q)[last]
	*q = (*q)[:last]
	return m
}
