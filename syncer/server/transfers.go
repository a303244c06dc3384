package server

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/sync/semaphore"
)

// share is the part of all transfers that one device may have: one in so many.
const share = 4

// transfers bounds the requests that move chunks at the same time, and how many
// of them are one device's, so that none that is slow, or means to be, keeps all
// others waiting.
type transfers struct {
	all  *semaphore.Weighted
	each int64 // that one device may have

	mu sync.Mutex
	by map[string]*lane // devices that have some, or wait
}

// A lane is the transfers of one device.
type lane struct {
	free *semaphore.Weighted
	uses int // requests, those that wait too
}

func newTransfers(n int) *transfers {
	return &transfers{all: semaphore.NewWeighted(int64(n)), each: int64(max(1, n/share)), by: map[string]*lane{}}
}

// begin waits until a device may have one more transfer.
func (t *transfers) begin(ctx context.Context, device string) (done func(), err error) {
	l := t.join(device)
	if err := l.free.Acquire(ctx, 1); err != nil {
		t.leave(device)
		return nil, fmt.Errorf("wait for other transfers: %w", context.Cause(ctx))
	}
	if err := t.all.Acquire(ctx, 1); err != nil {
		l.free.Release(1)
		t.leave(device)
		return nil, fmt.Errorf("wait for other transfers: %w", context.Cause(ctx))
	}
	return func() {
		t.all.Release(1)
		l.free.Release(1)
		t.leave(device)
	}, nil
}

func (t *transfers) join(device string) *lane {
	t.mu.Lock()
	defer t.mu.Unlock()
	l, ok := t.by[device]
	if !ok {
		l = &lane{free: semaphore.NewWeighted(t.each)}
		t.by[device] = l
	}
	l.uses++
	return l
}

func (t *transfers) leave(device string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.by[device]
	if l.uses--; l.uses == 0 {
		delete(t.by, device)
	}
}
