package bolt

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"go.etcd.io/bbolt"

	"satchel/store/durable"
)

// scatter puts count keys that lie anywhere, named by their numbers from start.
func scatter(t testing.TB, f *File, start, count int) {
	t.Helper()
	err := f.UpdateMany(context.Background(), count, func(tx *bbolt.Tx) error {
		b := tx.Bucket(testBucket)
		for i := start; i < start+count; i++ {
			if err := b.Put(scattered(i), []byte(fmt.Sprint(i))); err != nil {
				return err
			}
		}
		return b.SetSequence(uint64(start + count))
	})
	if err != nil {
		t.Error(err)
	}
}

func scattered(i int) []byte {
	h := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(i)))
	return h[:]
}

// wantScattered checks that just the keys below count are there.
func wantScattered(t testing.TB, f *File, count int) {
	t.Helper()
	err := f.View(t.Context(), func(tx *bbolt.Tx) error {
		b := tx.Bucket(testBucket)
		for i := range count {
			if got := string(b.Get(scattered(i))); got != fmt.Sprint(i) {
				return fmt.Errorf("key %d is %q", i, got)
			}
		}
		n := 0
		_ = b.ForEach(func(_, _ []byte) error { n++; return nil })
		if n != count {
			return fmt.Errorf("%d keys, want %d", n, count)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func sizeOf(t testing.TB, f *File) int64 {
	t.Helper()
	info, err := os.Stat(f.Path())
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

func TestCompact(t *testing.T) {
	f := newFile(t, filepath.Join(t.TempDir(), "db"))
	for i := range 5 {
		scatter(t, f, 2000*i, 2000)
	}
	before := sizeOf(t, f)
	if err := f.Compact(t.Context(), f.Path()+".tmp"); err != nil {
		t.Fatal(err)
	}
	after := sizeOf(t, f)
	if after > before/2 {
		t.Errorf("%d bytes of %d are left", after, before)
	}
	wantScattered(t, f, 10_000)
	_ = f.View(t.Context(), func(tx *bbolt.Tx) error {
		if got := tx.Bucket(testBucket).Sequence(); got != 10_000 {
			t.Errorf("sequence %d, want 10000", got)
		}
		return nil
	})
	old, err := os.Stat(f.Path())
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Compact(t.Context(), f.Path()+".tmp"); err != nil {
		t.Fatal(err)
	}
	if again, err := os.Stat(f.Path()); err != nil || !os.SameFile(old, again) {
		t.Errorf("compacted again without need, error %v", err)
	}
}

// TestCompactLosesNoUpdates compacts while others change the database, through
// the same File and through another.
func TestCompactLosesNoUpdates(t *testing.T) {
	f := newFile(t, filepath.Join(t.TempDir(), "db"))
	other := New(f.Path(), durable.FS{}, testFormat)
	var wg sync.WaitGroup
	for w, file := range []*File{f, f, other} {
		wg.Go(func() {
			for i := range 10 {
				scatter(t, file, (10*w+i)*300, 300)
			}
		})
	}
	made := 0
	for range 30 {
		before, err := os.Stat(f.Path())
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Compact(t.Context(), f.Path()+".tmp"); err != nil {
			t.Fatal(err)
		}
		if after, err := os.Stat(f.Path()); err == nil && !os.SameFile(before, after) {
			made++
		}
	}
	wg.Wait()
	if err := f.Compact(t.Context(), f.Path()+".tmp"); err != nil {
		t.Fatal(err)
	}
	wantScattered(t, f, 9000)
	t.Logf("compacted %d times meanwhile", made)
}

func TestCompactLeavesBusyFiles(t *testing.T) {
	f := newFile(t, filepath.Join(t.TempDir(), "db"))
	for i := range 5 {
		scatter(t, f, 2000*i, 2000)
	}
	before := sizeOf(t, f)
	err := f.View(t.Context(), func(*bbolt.Tx) error { // another process reads
		return New(f.Path(), durable.FS{}, testFormat).Compact(t.Context(), f.Path()+".tmp")
	})
	if after := sizeOf(t, f); err != nil || after != before {
		t.Errorf("compacted a file that is read: %v, %d bytes of %d", err, after, before)
	}
	wantScattered(t, f, 10_000)
}

// TestCompactSurvivesPowerFailure fails power before and after each step.
func TestCompactSurvivesPowerFailure(t *testing.T) {
	errPower := errors.New("power failed")
	for _, happens := range []bool{false, true} {
		for n := 0; ; n++ {
			f := newFile(t, filepath.Join(t.TempDir(), "db"))
			for i := range 4 {
				scatter(t, f, 2000*i, 2000)
			}
			step := 0
			failing := New(f.Path(), durable.FS{Fault: func(durable.Step) (error, bool) {
				if step++; step <= n {
					return nil, false
				}
				return errPower, happens && step == n+1
			}}, testFormat)
			err := failing.Compact(t.Context(), f.Path()+".tmp")
			if step > n && !errors.Is(err, errPower) {
				t.Errorf("step %d: %v, want %v", n, err, errPower)
			}
			wantScattered(t, f, 8000)
			scatter(t, f, 8000, 1)
			wantScattered(t, f, 8001)
			if step <= n {
				if n < 2 {
					t.Errorf("%d steps, want a sync and a renaming at least", n)
				}
				break
			}
		}
	}
}
