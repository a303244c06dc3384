package overlay

import (
	"errors"
	"math/rand/v2"
	"testing"

	"satchel/store"
)

// A faulty file fails to sync once, and gives up what it should have written, as
// Linux does.
type faulty struct {
	*crashFile
	err error
}

func (f *faulty) Datasync() error {
	if err := f.err; err != nil {
		f.err = nil
		clear(f.past)
		return err
	}
	return f.crashFile.Datasync()
}

// TestFlushThatFailed: after a sync of the data that failed no flush succeeds, and
// what was to be flushed reads as before; the map is written again.
func TestFlushThatFailed(t *testing.T) {
	errDisk := errors.New("the host's disk fails")
	for _, test := range []struct {
		name      string
		data, bit error
		first     byte // of the block, when all is over
	}{
		{"the data", errDisk, nil, 1},
		{"the map", nil, errDisk, 7},
	} {
		lower, on := pattern{100 * BlockSize}, store.ID{1}
		p := &power{rand: rand.New(rand.NewPCG(1, 1)), left: 1 << 30}
		data := &faulty{newCrashFile(p, lower.size, BlockSize), test.data}
		mapped := &faulty{newCrashFile(p, mapSize(lower.size), 1), test.bit}
		copy(mapped.now, encodeHeader(Base{on, lower.size}))
		d, err := open(data, mapped, int64(len(mapped.now)), lower, on)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.WriteAt([]byte{7}, 0); err != nil {
			t.Fatal(err)
		}
		if err := d.Flush(); !errors.Is(err, errDisk) {
			t.Errorf("%s: first flush: %v", test.name, err)
		}
		if err := d.Flush(); !errors.Is(err, test.data) {
			t.Errorf("%s: second flush: %v, want %v", test.name, err, test.data)
		}
		if err := d.Close(); !errors.Is(err, test.data) {
			t.Errorf("%s: close: %v, want %v", test.name, err, test.data)
		}
		if d, err = open(data, mapped, int64(len(mapped.now)), lower, on); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 1)
		if _, err := d.ReadAt(b, 0); err != nil || b[0] != test.first {
			t.Errorf("%s: reads %d, %v, want %d", test.name, b[0], err, test.first)
		}
	}
}
