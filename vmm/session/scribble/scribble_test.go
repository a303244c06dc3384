package scribble

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

var errFull = errors.New("the test has seen enough")

// A disk notes what is done with it.
type disk struct {
	t      *testing.T
	log    strings.Builder
	writes int
}

func (d *disk) WriteAt(b []byte, off int64) (int, error) {
	if off < First || off%Block != 0 || off+int64(len(b)) > 8<<30-Block || len(b)%Block != 0 || len(b) == 0 {
		d.t.Errorf("a write of %d bytes at %d", len(b), off)
	}
	if d.writes++; d.writes > 100*Flush {
		return 0, errFull
	}
	d.log.WriteString("w")
	return len(b), nil
}

func (d *disk) Sync() error {
	d.log.WriteString("s")
	return nil
}

func (d *disk) Write(b []byte) (int, error) {
	run, n, ok := Flushed(string(b))
	if !ok || run != 5 {
		d.t.Errorf("it says %q", b)
	}
	fmt.Fprintf(&d.log, "%d ", n)
	return len(b), nil
}

// TestRun: a flush comes after the writes that it is about, and is told of after
// that.
func TestRun(t *testing.T) {
	d := &disk{t: t}
	if err := Run(d, d, 5); !errors.Is(err, errFull) {
		t.Error(err)
	}
	want := "0 "
	for n := Flush; n <= 100*Flush; n += Flush {
		want += strings.Repeat("w", Flush) + fmt.Sprintf("s%d ", n)
	}
	if got := d.log.String(); got != want {
		t.Errorf("it did %.100q", got)
	}
	if _, _, ok := Flushed("flushed nothing"); ok {
		t.Error("read what is no such line")
	}
}
