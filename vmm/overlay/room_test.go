package overlay

import (
	"bytes"
	"errors"
	"path/filepath"
	"testing"

	"satchel/store"
)

// TestRoom: the first write of a unit makes room for all of it, whoever of many
// is the first, and nothing that was written before is lost by that, neither by
// this process nor by one before it.
func TestRoom(t *testing.T) {
	lower := pattern{5*roomSize + 700}
	name := filepath.Join(t.TempDir(), "disk")
	if err := Create(name, Base{store.ID{3}, lower.size}); err != nil {
		t.Fatal(err)
	}
	want := make([]byte, lower.size)
	if _, err := lower.ReadAt(want, 0); err != nil {
		t.Fatal(err)
	}
	for _, parity := range []int64{0, 1} { // each block of the first units once, half of them after it was opened again
		d, err := Open(name, lower, store.ID{3})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 4)
		for writer := range int64(4) {
			go func() {
				var err error
				for b := writer*2 + parity; b < 3*roomSize/BlockSize; b += 8 {
					data := bytes.Repeat([]byte{byte(b + 1)}, BlockSize)
					if b%3 == 0 {
						_, failed := d.WriteAt(data, b*BlockSize)
						err = errors.Join(err, failed)
					} else if !d.TryWriteAt(data, b*BlockSize) {
						err = errors.Join(err, errors.New("a whole block was not written at once"))
					}
				}
				done <- err
			}()
		}
		for range 4 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		for b := parity; b < 3*roomSize/BlockSize; b += 2 {
			copy(want[b*BlockSize:], bytes.Repeat([]byte{byte(b + 1)}, BlockSize))
		}
		got := make([]byte, lower.size)
		if _, err := d.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("it reads as something else, error %v", err)
		}
		if next, err := d.data.NextData(0); err != nil || next != 0 {
			t.Errorf("the first unit has no room: data from %d on, error %v", next, err)
		}
		if next, err := d.data.NextData(3 * roomSize); err != nil || next < lower.size {
			t.Errorf("there is data at %d, where nobody wrote, error %v", next, err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTriesOfADisk: what needs something from below, or is not at hand, is not
// done by halves.
func TestTriesOfADisk(t *testing.T) {
	d := fresh(t, pattern{10 * BlockSize})
	if d.TryReadAt(make([]byte, 1), 0) {
		t.Error("read from below without waiting")
	}
	if d.TryWriteAt(make([]byte, 10), 5) || d.TryWriteAt(make([]byte, BlockSize), d.size-100) || len(d.Dirty()) > 0 {
		t.Error("wrote what cannot be written at once")
	}
	if !d.TryWriteAt(bytes.Repeat([]byte{7}, BlockSize), BlockSize) || !d.TryWriteAt([]byte{8}, BlockSize+9) {
		t.Error("did not write what can be written at once")
	}
	b := make([]byte, BlockSize)
	if _, err := d.ReadAt(b, BlockSize); err != nil || b[8] != 7 || b[9] != 8 || b[10] != 7 {
		t.Errorf("reads %v, error %v", b[8:11], err)
	}
	if f := d.InFile(BlockSize, BlockSize); f != nil { // the kernel can tell
		if _, err := f.ReadAt(b, BlockSize); err != nil || b[8] != 7 || b[9] != 8 {
			t.Errorf("the file has %v, error %v", b[8:11], err)
		}
	}
	if d.InFile(0, 2*BlockSize) != nil || d.InFile(2*BlockSize, 1) != nil || d.InFile(BlockSize, d.size) != nil {
		t.Error("the file is said to have what was not written")
	}
}
