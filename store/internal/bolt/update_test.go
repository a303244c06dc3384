package bolt

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"

	"go.etcd.io/bbolt"
	"golang.org/x/sync/errgroup"

	"satchel/store/durable"
)

// waiting waits until n updates are in the queue.
func waiting(t *testing.T, f *File, n int) {
	t.Helper()
	for {
		f.queue.mu.Lock()
		have := len(f.queue.waiting)
		f.queue.mu.Unlock()
		if have == n {
			return
		}
		if t.Context().Err() != nil {
			t.Fatal("the updates never came")
		}
	}
}

// TestUpdatesShareTransactions has many updates wait for another process. Those
// that fail must not take others with them, nor leave anything.
func TestUpdatesShareTransactions(t *testing.T) {
	f := newFile(t, filepath.Join(t.TempDir(), "db"))
	var commits atomic.Int64
	f.fs = durable.FS{Fault: func(durable.Step) (error, bool) {
		commits.Add(1)
		return nil, false
	}}
	broken := errors.New("broken")
	release := hold(t, f)
	var g errgroup.Group
	for i := range maxGroup - 1 {
		g.Go(func() error {
			err := f.Update(context.Background(), func(tx *bbolt.Tx) error {
				if err := tx.Bucket(testBucket).Put(fmt.Append(nil, i), []byte{1}); err != nil || i%16 > 0 {
					return err
				}
				return broken
			})
			if errors.Is(err, broken) != (i%16 == 0) {
				return fmt.Errorf("update %d: %w", i, err)
			}
			return nil
		})
	}
	waiting(t, f, maxGroup-1)
	release()
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	// Four fail the transaction that is shared, and each is tried by itself.
	if n := commits.Load(); n > 9 {
		t.Errorf("%d transactions, want 9 or fewer", n)
	}
	err := f.View(t.Context(), func(tx *bbolt.Tx) error {
		for i := range maxGroup - 1 {
			if there := tx.Bucket(testBucket).Get(fmt.Append(nil, i)) != nil; there != (i%16 > 0) {
				t.Errorf("update %d has had an effect: %v", i, there)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestLargeUpdatesShareLess has updates wait that are too much for one
// transaction, and one that is too much by itself.
func TestLargeUpdatesShareLess(t *testing.T) {
	f := newFile(t, filepath.Join(t.TempDir(), "db"))
	var commits atomic.Int64
	f.fs = durable.FS{Fault: func(durable.Step) (error, bool) {
		commits.Add(1)
		return nil, false
	}}
	release := hold(t, f)
	var g errgroup.Group
	for i, keys := range []int{maxGroupKeys / 2, maxGroupKeys / 2, 1, 2 * maxGroupKeys, 1, 1} {
		g.Go(func() error {
			return f.UpdateMany(context.Background(), keys, func(tx *bbolt.Tx) error {
				return tx.Bucket(testBucket).Put(fmt.Append(nil, i), []byte{1})
			})
		})
		waiting(t, f, i+1)
	}
	release()
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	// The first two, the third, the large one, and the last two.
	if n := commits.Load(); n != 4 {
		t.Errorf("%d transactions, want 4", n)
	}
}

// TestWithdrawnUpdate gives up on the one who waits for the file and on one who
// waits for that: the third must go through.
func TestWithdrawnUpdate(t *testing.T) {
	f := newFile(t, filepath.Join(t.TempDir(), "db"))
	release := hold(t, f)
	ctx, cancel := context.WithCancel(t.Context())
	gaveUp := make(chan error)
	for range 2 {
		go func() { gaveUp <- f.Update(ctx, func(*bbolt.Tx) error { return errors.New("it ran") }) }()
	}
	waiting(t, f, 2)
	stays := make(chan error)
	go func() { stays <- set(f, "x") }()
	waiting(t, f, 3)
	cancel()
	for range 2 {
		if err := <-gaveUp; !errors.Is(err, context.Canceled) {
			t.Errorf("%v, want %v", err, context.Canceled)
		}
	}
	release()
	if err := <-stays; err != nil || get(t, f) != "x" {
		t.Errorf("the one that stayed: %v", err)
	}
}

// TestPanicOfASharedTransaction has one of several updates meet damage: all are
// told, and the file stays usable.
func TestPanicOfASharedTransaction(t *testing.T) {
	f := newFile(t, filepath.Join(t.TempDir(), "db"))
	release := hold(t, f)
	failed := make(chan error)
	for i := range 3 {
		go func() {
			failed <- f.Update(context.Background(), func(*bbolt.Tx) error {
				if i == 1 {
					panic("page 7: freed twice")
				}
				return nil
			})
		}()
	}
	waiting(t, f, 3)
	release()
	for range 3 {
		if err := <-failed; err == nil {
			t.Error("an update of a damaged file succeeds")
		}
	}
	if err := set(f, "still works"); err != nil {
		t.Error(err)
	}
}
