package overlay

import (
	"slices"
	"testing"
	"time"

	"satchel/store"
)

// A noting file notes what it is told to begin with.
type noting struct {
	*crashFile
	started [][2]int64
}

func (f *noting) Start(off, n int64) error {
	f.started = append(f.started, [2]int64{off, n})
	return errPower // which is nobody's concern
}

// notingDisk is a disk, of that many bytes, whose file notes.
func notingDisk(t *testing.T, size int64) (*Disk, *noting) {
	t.Helper()
	on := power{left: 1000}
	data := &noting{crashFile: newCrashFile(&on, size, BlockSize)}
	file := newCrashFile(&on, mapSize(size), BlockSize)
	copy(file.now, encodeHeader(Base{store.ID{3}, size}))
	d, err := open(data, file, mapSize(size), zeros{size}, store.ID{3})
	if err != nil {
		t.Fatal(err)
	}
	return d, data
}

// TestRunsOfLargeWritesBeginEarly: the disk begins with what was written one
// after the other, when that is enough, and not with small writes nor with what
// lies apart; and all is told when the disk is closed.
func TestRunsOfLargeWritesBeginEarly(t *testing.T) {
	d, data := notingDisk(t, 4*startSize)
	const piece = startSize / 4
	var want [][2]int64
	for _, w := range []struct {
		off, n int64
		begins [2]int64
	}{
		{off: 0, n: piece},
		{off: 2 * piece, n: piece}, // apart
		{off: 3 * piece, n: 2 * piece},
		{off: 0, n: BlockSize}, // small: not part of a run, and no end of it
		{off: 5 * piece, n: piece, begins: [2]int64{2 * piece, startSize}},
		{off: 6 * piece, n: piece}, // a new run
		{off: 8 * piece, n: startSize, begins: [2]int64{8 * piece, startSize}},
	} {
		if !d.TryWriteAt(make([]byte, w.n), w.off) {
			t.Fatal("did not write")
		}
		if w.begins[1] > 0 {
			want = append(want, w.begins)
		}
	}
	if _, err := d.WriteAt(make([]byte, startSize), 3*startSize); err != nil {
		t.Fatal(err)
	}
	want = append(want, [2]int64{3 * startSize, startSize})
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(data.started, want) {
		t.Errorf("began with %v, want %v", data.started, want)
	}
}

// TestEarlyWritesEndWithoutFlushes: the disk begins with no more than a flush may
// find done, however much is written, and again when there was a flush.
func TestEarlyWritesEndWithoutFlushes(t *testing.T) {
	d, data := notingDisk(t, 2*startSize)
	b := make([]byte, startSize)
	write := func(n int64) {
		for i := range n / startSize {
			if _, err := d.WriteAt(b, i%2*startSize); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(2 * maxBegun)
	if err := d.Flush(); err != nil {
		t.Fatal(err)
	}
	for len(d.early.runs) > 0 { // else there is no room for one more
		time.Sleep(time.Millisecond)
	}
	write(startSize)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if n := int64(len(data.started)) * startSize; n != maxBegun+startSize {
		t.Errorf("began with %d bytes, want %d", n, maxBegun+startSize)
	}
}
