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

// TestLargeWritesBeginEarly: the disk begins with large writes, and not with
// small ones, and all is told when the disk is closed.
func TestLargeWritesBeginEarly(t *testing.T) {
	on := power{left: 1000}
	lower := zeros{4 << 20}
	data := &noting{crashFile: newCrashFile(&on, lower.size, BlockSize)}
	file := newCrashFile(&on, mapSize(lower.size), BlockSize)
	copy(file.now, encodeHeader(Base{store.ID{3}, lower.size}))
	d, err := open(data, file, mapSize(lower.size), lower, store.ID{3})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.WriteAt(make([]byte, largeWrite), 1<<20); err != nil {
		t.Fatal(err)
	}
	if !d.TryWriteAt(make([]byte, 1<<20), 2<<20) || !d.TryWriteAt(make([]byte, BlockSize), 0) {
		t.Fatal("did not write")
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if want := [][2]int64{{1 << 20, largeWrite}, {2 << 20, 1 << 20}}; !slices.Equal(data.started, want) {
		t.Errorf("began with %v, want %v", data.started, want)
	}
}
