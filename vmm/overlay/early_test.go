package overlay

import (
	"slices"
	"testing"

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

// TestRunsOfLargeWritesBeginEarly: the disk begins with what was written one
// after the other, when that is enough, and not with small writes nor with what
// lies apart; and all is told when the disk is closed.
func TestRunsOfLargeWritesBeginEarly(t *testing.T) {
	on := power{left: 1000}
	lower := zeros{4 * startSize}
	data := &noting{crashFile: newCrashFile(&on, lower.size, BlockSize)}
	file := newCrashFile(&on, mapSize(lower.size), BlockSize)
	copy(file.now, encodeHeader(Base{store.ID{3}, lower.size}))
	d, err := open(data, file, mapSize(lower.size), lower, store.ID{3})
	if err != nil {
		t.Fatal(err)
	}
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
