package bolt

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"satchel/store"
	"satchel/store/durable"
)

var (
	testFormat = Format{Name: "test", Version: 3, Help: "ask for help"}
	testBucket = []byte("bucket")
	testKey    = []byte("key")
)

func newFile(t testing.TB, path string) *File {
	t.Helper()
	f := New(path, durable.FS{}, testFormat)
	err := f.Create(path+".tmp", func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucket(testBucket)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func set(f *File, value string) error {
	return f.Update(context.Background(), func(tx *bbolt.Tx) error {
		return tx.Bucket(testBucket).Put(testKey, []byte(value))
	})
}

func get(t testing.TB, f *File) (value string) {
	t.Helper()
	err := f.View(t.Context(), func(tx *bbolt.Tx) error {
		value = string(tx.Bucket(testBucket).Get(testKey))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func TestUpdateIsSeenByOthers(t *testing.T) {
	a := newFile(t, filepath.Join(t.TempDir(), "db"))
	b := New(a.Path(), durable.FS{}, testFormat)
	for _, v := range []string{"1", "2"} {
		if err := set(a, v); err != nil {
			t.Fatal(err)
		}
		if got := get(t, b); got != v {
			t.Errorf("the other sees %q, want %q", got, v)
		}
	}
}

func TestFailedUpdateHasNoEffect(t *testing.T) {
	f := newFile(t, filepath.Join(t.TempDir(), "db"))
	broken := errors.New("broken")
	err := f.Update(t.Context(), func(tx *bbolt.Tx) error {
		return errors.Join(tx.Bucket(testBucket).Put(testKey, []byte("x")), broken)
	})
	if !errors.Is(err, broken) || get(t, f) != "" {
		t.Errorf("failed update: %v, and the value is %q", err, get(t, f))
	}
}

// hold has another process's lock on the file until release is called.
func hold(t *testing.T, f *File) (release func()) {
	t.Helper()
	entered, leave, done := make(chan struct{}), make(chan struct{}), make(chan error)
	other := New(f.Path(), durable.FS{}, testFormat)
	go func() {
		done <- other.Update(context.Background(), func(*bbolt.Tx) error {
			close(entered)
			<-leave
			return nil
		})
	}()
	<-entered
	return func() {
		close(leave)
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestBusy(t *testing.T) {
	f := newFile(t, filepath.Join(t.TempDir(), "db"))
	release := hold(t, f)
	f.SetPatience(time.Millisecond)
	if err := set(f, "x"); !errors.Is(err, store.ErrBusy) || !strings.Contains(err.Error(), f.Path()) {
		t.Errorf("busy: %v, want %v and the file's name", err, store.ErrBusy)
	}
	f.SetPatience(Patience)
	waited := make(chan error)
	go func() { waited <- set(f, "x") }()
	release()
	if err := <-waited; err != nil {
		t.Errorf("after the other let go: %v", err)
	}
}

// TestReplaced has someone wait for a file that is replaced meanwhile: the
// change must go into the new one.
func TestReplaced(t *testing.T) {
	dir := t.TempDir()
	f := newFile(t, filepath.Join(dir, "db"))
	aside := newFile(t, filepath.Join(dir, "aside"))
	if err := set(aside, "new"); err != nil {
		t.Fatal(err)
	}
	release := hold(t, f)
	replaced, changed := make(chan error), make(chan error)
	replacer := New(f.Path(), durable.FS{}, testFormat)
	go func() { replaced <- replacer.Replace(context.Background(), aside.Path()) }()
	go func() {
		changed <- f.Update(context.Background(), func(tx *bbolt.Tx) error {
			b := tx.Bucket(testBucket)
			return b.Put([]byte("other"), b.Get(testKey))
		})
	}()
	release()
	if err := errors.Join(<-replaced, <-changed); err != nil {
		t.Fatal(err)
	}
	if got := get(t, f); got != "new" {
		t.Errorf("after the replacement the value is %q", got)
	}
	if err := set(f, "newer"); err != nil || get(t, replacer) != "newer" {
		t.Errorf("the two see different files: %v", err)
	}
}

// TestPanicBecomesDamage checks that a panic within a transaction, which is
// how bbolt answers damage, is an error, and leaves the file usable.
func TestPanicBecomesDamage(t *testing.T) {
	f := newFile(t, filepath.Join(t.TempDir(), "db"))
	for _, run := range []func(context.Context, func(*bbolt.Tx) error) error{f.View, f.Update} {
		err := run(t.Context(), func(*bbolt.Tx) error { panic("page 7: freed twice") })
		for _, want := range []string{f.Path(), "page 7", testFormat.Help} {
			if !errors.Is(err, store.ErrCorrupt) || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v: want %v and %q", err, store.ErrCorrupt, want)
			}
		}
		if err := set(f, "still works"); err != nil {
			t.Error(err)
		}
	}
}

func TestMissingFileIsNotMade(t *testing.T) {
	f := New(filepath.Join(t.TempDir(), "db"), durable.FS{}, testFormat)
	if err := set(f, "x"); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("missing file: %v, want %v", err, store.ErrCorrupt)
	}
	if _, err := os.Stat(f.Path()); !os.IsNotExist(err) {
		t.Errorf("the file was made: %v", err)
	}
}

func TestOlderVersion(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	newFile(t, path)
	later := testFormat
	later.Version++
	if err := set(New(path, durable.FS{}, later), "x"); !errors.Is(err, store.ErrCorrupt) || !strings.Contains(err.Error(), "version 3") {
		t.Errorf("older version: %v", err)
	}
}
