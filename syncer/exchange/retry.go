package exchange

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/cenkalti/backoff/v5"

	"satchel/syncer"
)

// How long is waited before another try: at first, and at most.
var firstWait, longestWait = 200 * time.Millisecond, 10 * time.Second

// again tries until it succeeds, fails with what another try does not cure, or
// brings nothing several times in a row. A try reports whether it brought
// anything.
func again(ctx context.Context, m *meter, try func() (moved bool, err error)) error {
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval, wait.Multiplier = firstWait, longestWait, 2
	for idle := 0; ; {
		moved, err := try()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case !wasCut(err):
			return err
		case moved:
			idle = 0
			wait.Reset()
		default:
			idle++
		}
		if idle == idleTries {
			return err
		}
		m.retry()
		timer := time.NewTimer(wait.NextBackOff())
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// wasCut reports an error that another try may cure.
func wasCut(err error) bool {
	return errors.Is(err, syncer.ErrUnavailable) || errors.Is(err, io.ErrUnexpectedEOF)
}
