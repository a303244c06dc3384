package bolt

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"go.etcd.io/bbolt"
)

// Limits of what shares a transaction, so that none of the updates, and no
// reader, waits long for the others. Each key takes up to 10 KiB of memory until
// the transaction is durable: its page as it was taken apart, and as it is written.
const (
	maxGroup     = 64      // updates
	maxGroupKeys = 1 << 14 // keys that they change, but for one that changes more by itself
)

// update is a call of Update.
type update struct {
	fn   func(tx *bbolt.Tx) error
	keys int // that it may change
	err  error
	done chan struct{} // closed when err is final
}

// finish tells the caller how its update ended.
func (u *update) finish(err error) {
	u.err = errors.Join(u.err, err)
	close(u.done)
}

// queue is the updates that wait.
type queue struct {
	turn    chan struct{} // full while one of those who wait runs updates
	mu      sync.Mutex
	waiting []*update
}

func newQueue() *queue { return &queue{turn: make(chan struct{}, 1)} }

func (q *queue) add(u *update) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, u)
}

// take removes some updates from the queue and returns them.
func (q *queue) take() []*update {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := 0
	for keys := 0; n < min(len(q.waiting), maxGroup); n++ {
		if keys += q.waiting[n].keys; n > 0 && keys > maxGroupKeys {
			break
		}
	}
	group := slices.Clone(q.waiting[:n])
	q.waiting = slices.Delete(q.waiting, 0, n)
	return group
}

func (q *queue) holds(u *update) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Contains(q.waiting, u)
}

// withdraw removes one update, and reports whether nobody had taken it yet.
func (q *queue) withdraw(u *update) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.waiting, u)
	if i >= 0 {
		q.waiting = slices.Delete(q.waiting, i, i+1)
	}
	return i >= 0
}

// Update runs a transaction that may change the database. It is durable when
// Update returns nil, and has no effect when fn returns an error. fn may be
// called again when it shared a transaction with one that failed.
func (f *File) Update(ctx context.Context, fn func(tx *bbolt.Tx) error) error {
	return f.UpdateMany(ctx, 1, fn)
}

// UpdateMany is Update for a transaction that changes about so many keys.
func (f *File) UpdateMany(ctx context.Context, keys int, fn func(tx *bbolt.Tx) error) error {
	u := &update{fn: fn, keys: keys, done: make(chan struct{})}
	f.queue.add(u)
	for {
		select {
		case <-u.done:
			return u.err
		case <-ctx.Done():
			if f.queue.withdraw(u) {
				return fmt.Errorf("wait for %s: %w", f.path, ctx.Err())
			}
			<-u.done
			return u.err
		case f.queue.turn <- struct{}{}:
			f.lead(ctx, u)
			<-f.queue.turn
		}
	}
}

// lead opens the file and runs the updates that wait then. What keeps it from
// opening the file is the answer to them, too, unless its own caller gave up.
func (f *File) lead(ctx context.Context, u *update) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.queue.holds(u) {
		return // the one before ran it
	}
	var group []*update
	err := f.with(ctx, false, func(db *bbolt.DB) error {
		group = f.queue.take()
		f.run(db, group)
		return nil
	})
	switch {
	case group != nil:
	case ctx.Err() != nil:
		f.queue.withdraw(u)
		group = []*update{u}
	default:
		group = f.queue.take()
	}
	for _, u := range group {
		u.finish(err)
	}
}

// run runs updates in one transaction. One that fails is left out of it, and
// has one of its own afterwards, so that it does not see what may yet be undone.
func (f *File) run(db *bbolt.DB, group []*update) {
	var alone []*update
	for group = slices.Clone(group); len(group) > 1; {
		failed := -1
		err := f.commit(db, func(tx *bbolt.Tx) error {
			for i, u := range group {
				if err := u.fn(tx); err != nil {
					failed = i
					return err
				}
			}
			return nil
		})
		if failed < 0 {
			for _, u := range group {
				u.err = err
			}
			group = nil
			break
		}
		alone = append(alone, group[failed])
		group = slices.Delete(group, failed, failed+1)
	}
	for _, u := range append(group, alone...) {
		u.err = f.commit(db, u.fn)
	}
}

func (f *File) commit(db *bbolt.DB, fn func(tx *bbolt.Tx) error) error {
	return f.explain(f.fs.Do("commit", f.path, func() error { return db.Update(fn) }))
}
