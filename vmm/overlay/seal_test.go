package overlay

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"satchel/store"
)

// TestSeal: reading and flushing leave the seal as it is, each kind of write does
// not.
func TestSeal(t *testing.T) {
	lower := pattern{4 * roomSize}
	name := filepath.Join(t.TempDir(), "disk")
	if _, err := Seal(name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("seal of no overlay: %v", err)
	}
	if err := Create(name, Base{store.ID{3}, lower.size}); err != nil {
		t.Fatal(err)
	}
	seal := func() string {
		t.Helper()
		s, err := Seal(name)
		if err != nil || len(s) != 64 {
			t.Fatalf("seal %q, error %v", s, err)
		}
		return s
	}
	last := seal()
	for _, tt := range []struct {
		name  string
		do    func(*Disk) error
		keeps bool
	}{
		{"nothing", func(*Disk) error { return nil }, true},
		{"a write", func(d *Disk) error { _, err := d.WriteAt([]byte{1}, 0); return err }, false},
		{"the same write", func(d *Disk) error { _, err := d.WriteAt([]byte{1}, 0); return err }, false},
		{"a read", func(d *Disk) error { _, err := d.ReadAt(make([]byte, 9), 0); return err }, true},
		{"a trim", func(d *Disk) error { return d.Trim(0, BlockSize) }, false},
		{"a flush", (*Disk).Flush, true},
	} {
		time.Sleep(20 * time.Millisecond) // a tick of the file system's clock
		d, err := Open(name, lower, store.ID{3})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(tt.do(d), d.Close()); err != nil {
			t.Fatal(err)
		}
		now := seal()
		if (now == last) != tt.keeps {
			t.Errorf("%s: the seal is the same: %v, want %v", tt.name, now == last, tt.keeps)
		}
		last = now
	}
	if err := os.Truncate(name, lower.size+1); err != nil {
		t.Fatal(err)
	}
	if seal() == last {
		t.Error("a longer file has the same seal")
	}
}
