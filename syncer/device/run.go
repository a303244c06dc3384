package device

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/sync/errgroup"

	"satchel/syncer"
)

// How long the agent asks the server to wait for news, and how often it tries
// again after an error.
const (
	newsWait   = 50 * time.Second
	firstRetry = time.Second
	lastRetry  = 5 * time.Minute
	roomRetry  = 15 * time.Minute // for what does not fit
)

// Run keeps the home in sync until ctx is done: it waits for news of the server
// and for changes here, and tries again, ever less often, while the server
// cannot be reached. It tells report of each sync, and returns an error that no
// further try will cure, such as that the device was revoked, with what to do.
// One process at a time runs; a second fails with [store.ErrBusy].
func (d *Device) Run(ctx context.Context, report func(Report, error)) (err error) {
	unlock, err := tryLock(d.path(agentLock))
	if err != nil {
		return fmt.Errorf("another agent keeps this home in sync: %w", err)
	}
	defer func() { err = errors.Join(err, unlock()) }()
	w, err := d.watch()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	retry := backoff.NewExponentialBackOff()
	retry.InitialInterval, retry.MaxInterval, retry.RandomizationFactor = firstRetry, lastRetry, 0.5
	var heard *syncer.State
	for {
		if err := w.look(ctx); err != nil { // before the sync, so that what comes after is noticed
			return ended(ctx, err)
		}
		p, err := d.syncAll(ctx, heard)
		if ctx.Err() != nil {
			return ended(ctx, err)
		}
		report(p.report, err)
		if lasting(err) {
			return d.advise(err)
		}
		var again time.Duration
		if err == nil {
			retry.Reset()
			if d.Unfilled(ctx) { // a session fetches it
				again = fillRetry
			}
		} else {
			again = retryAfter(err, retry.NextBackOff())
		}
		if until := time.Until(p.due); !p.due.IsZero() && (again == 0 || until < again) {
			again = max(until, time.Millisecond)
		}
		if heard, err = d.waitForWork(ctx, w, p.state.Revision, again, err != nil); err != nil {
			return ended(ctx, err)
		}
	}
}

// retryAfter is how soon a sync that failed is tried again, if by itself it would be
// after next. What has no room can wait, but not what comes with a lost connection.
func retryAfter(err error, next time.Duration) time.Duration {
	if errors.Is(err, ErrNoRoom) && !fatal(err) {
		return roomRetry
	}
	return next
}

// ended is the end of an agent: in order, when it was told to end.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // it is what came of that
	}
	return err
}

// syncAll syncs everything but what need not be there yet.
func (d *Device) syncAll(ctx context.Context, heard *syncer.State) (*pass, error) {
	p := &pass{Device: d, patient: true}
	return p, d.syncBy(ctx, heard, p, func(ctx context.Context, p *pass) error { return p.all(ctx) })
}

// waitForWork returns when there is something to sync: news of the server, which
// it returns, a change here, or the end of the time after which to try again.
func (d *Device) waitForWork(ctx context.Context, w *watch, seen string, again time.Duration, failed bool) (news *syncer.State, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var g errgroup.Group
	work := func(do func(context.Context) error) {
		g.Go(func() error {
			defer cancel()
			if err := do(ctx); ctx.Err() == nil {
				return err
			}
			return nil
		})
	}
	if again > 0 {
		work(func(ctx context.Context) error { return sleep(ctx, again) })
	}
	if seen != "" {
		work(func(ctx context.Context) error { news = d.news(ctx, seen, failed); return nil })
		work(w.wait)
	}
	return news, g.Wait()
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
	return nil
}

// news waits for a state of another revision. When the server cannot be reached
// it returns nil, so that the next sync finds out; after a sync that failed,
// only once ctx is done, since that sync's retry is due anyway.
func (d *Device) news(ctx context.Context, seen string, failed bool) *syncer.State {
	for {
		state, err := d.server().State(ctx, seen, newsWait)
		switch {
		case err != nil && failed:
			<-ctx.Done()
			return nil
		case err != nil || state.Server != d.membership().Server:
			_ = sleep(ctx, firstRetry) // the sync may find nothing wrong
			return nil
		case state.Revision != seen:
			return &state
		}
	}
}

// advise says what to do about an error that no further try will cure.
func (d *Device) advise(err error) error {
	m := d.membership()
	switch {
	case errors.Is(err, syncer.ErrRevoked):
		return fmt.Errorf("%w: all that is here stays; an administrator lets it in again with satchel admin device rm %s and a new token", err, m.Device)
	case errors.Is(err, syncer.ErrExpired), errors.Is(err, syncer.ErrCertificate):
		return fmt.Errorf("%w: ask for a token, and give it to satchel enrol %s", err, m.URL)
	}
	return err
}
