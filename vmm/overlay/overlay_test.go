package overlay

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"

	"satchel/store"
)

// TestDiskIsAnArrayOfBytes: reads, writes, zeros and trims of any offset and
// length do what they do to bytes in memory, also after the files were opened
// again; and what the map says of them is true.
func TestDiskIsAnArrayOfBytes(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		lower := pattern{rapid.Int64Range(1, 40).Draw(t, "sectors") * sector}
		on := store.ID{7}
		name := filepath.Join(dir, "disk")
		if err := Create(name, Base{on, lower.size}); err != nil {
			t.Fatal(err)
		}
		model := make([]byte, lower.size)
		if _, err := lower.ReadAt(model, 0); err != nil {
			t.Fatal(err)
		}
		d, err := Open(name, lower, on)
		if err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			off := rapid.Int64Range(0, lower.size-1).Draw(t, "off")
			n := rapid.Int64Range(1, lower.size-off).Draw(t, "length")
			switch rapid.SampledFrom([]string{"write", "zero", "trim", "reopen"}).Draw(t, "step") {
			case "write":
				b := bytes.Repeat([]byte{rapid.Byte().Draw(t, "byte")}, int(n))
				copy(model[off:], b)
				_, err = d.WriteAt(b, off)
			case "zero":
				clear(model[off : off+n])
				err = d.Zero(off, n, true)
			case "trim":
				from, to := (off+BlockSize-1)/BlockSize*BlockSize, (off+n)/BlockSize*BlockSize
				if off+n == lower.size {
					to = lower.size
				}
				if from < to {
					clear(model[from:to])
				}
				err = d.Trim(off, n)
			case "reopen":
				if err = d.Close(); err == nil {
					d, err = Open(name, lower, on)
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			compare(t, d, model, lower)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func compare(t *rapid.T, d *Disk, model []byte, lower pattern) {
	got := make([]byte, len(model))
	if n, err := d.ReadAt(got, 0); n < len(got) || !bytes.Equal(got, model) {
		t.Fatalf("reads as something else, error %v", err)
	}
	old := make([]byte, len(model))
	if _, err := lower.ReadAt(old, 0); err != nil {
		t.Fatal(err)
	}
	at := int64(0)
	for _, r := range append(d.Dirty(), struct{ Off, End int64 }{d.size, d.size}) {
		if r.Off < at || !bytes.Equal(old[at:r.Off], model[at:r.Off]) {
			t.Fatalf("from %d to %d something changed", at, r.Off)
		}
		at = r.End
	}
	at = 0
	for r := range d.Runs(0, d.size) {
		if r.Length <= 0 || r.Zero && len(bytes.Trim(model[at:at+r.Length], "\x00")) > 0 {
			t.Fatalf("run at %d: %+v", at, r)
		}
		at += r.Length
	}
	if at != d.size {
		t.Fatalf("runs of %d bytes", at)
	}
	for off := int64(0); off < d.size; off += 100 {
		if n := d.Zeros(off); len(bytes.Trim(model[off:off+n], "\x00")) > 0 {
			t.Fatalf("%d bytes at %d are not zeros", n, off)
		}
	}
}

// TestTrimOfWhatIsFreeChangesNothing: guests trim all free space, and a capture
// must not take that for work.
func TestTrimOfWhatIsFreeChangesNothing(t *testing.T) {
	d := fresh(t, zeros{1 << 40})
	if err := errors.Join(d.Trim(0, 1<<40), d.Zero(1<<20, 1<<30, false)); err != nil {
		t.Fatal(err)
	}
	if dirty := d.Dirty(); len(dirty) > 0 {
		t.Errorf("changed %v", dirty)
	}
	if n := d.Zeros(0); n != 1<<40 {
		t.Errorf("%d bytes of zeros", n)
	}
}

// zeros is a disk on which nothing is.
type zeros struct{ size int64 }

func (z zeros) Size() int64                           { return z.size }
func (z zeros) Run(off int64) (int64, bool)           { return z.size - off, true }
func (z zeros) ReadAt(b []byte, _ int64) (int, error) { clear(b); return len(b), nil }

func fresh(t testing.TB, lower Lower) *Disk {
	t.Helper()
	name := filepath.Join(t.TempDir(), "disk")
	if err := Create(name, Base{store.ID{1}, lower.Size()}); err != nil {
		t.Fatal(err)
	}
	d, err := Open(name, lower, store.ID{1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func TestBeyondTheEnd(t *testing.T) {
	d := fresh(t, zeros{8192})
	_, err := d.WriteAt(make([]byte, 2), 8191)
	for name, err := range map[string]error{"write": err, "zero": d.Zero(0, 8193, true), "trim": d.Trim(-1, 1)} {
		if !errors.Is(err, errRange) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	name := filepath.Join(t.TempDir(), "disk")
	on := store.ID{1}
	if _, err := Open(name, zeros{8192}, on); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent: error %v", err)
	}
	if err := Create(name, Base{on, 8192}); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(name, zeros{8192}, store.ID{2}); err == nil {
		t.Error("opened over another version")
	}
	if _, err := Open(name, zeros{4096}, on); err == nil {
		t.Error("opened over a smaller disk")
	}
	if base, n, err := Written(name); base.Version != on || n != 0 || err != nil {
		t.Errorf("%d blocks over %v, error %v", n, base, err)
	}
	if err := Create(name, Base{on, 0}); err == nil {
		t.Error("made one of no bytes")
	}
}

// TestMapGolden holds the format still: docs/format/overlay.md explains it.
func TestMapGolden(t *testing.T) {
	name := filepath.Join(t.TempDir(), "disk")
	lower := zeros{40_000*BlockSize + sector}
	if err := Create(name, Base{store.ID{0xaa, 0xbb}, lower.size}); err != nil {
		t.Fatal(err)
	}
	d, err := Open(name, lower, store.ID{0xaa, 0xbb})
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range []int64{0, 9, 40_000} {
		if _, err := d.WriteAt([]byte{1}, block*BlockSize); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(MapOf(name))
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv("SATCHEL_GOLDEN") != "" {
		if err := os.WriteFile("testdata/map.v1", got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/map.v1")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("begins with\n%s", hex.Dump(got[:64]))
	}
}

func TestMapRefuses(t *testing.T) {
	good, err := os.ReadFile("testdata/map.v1")
	if err != nil {
		t.Fatal(err)
	}
	read := func(edit func(b []byte) []byte) error {
		b := edit(bytes.Clone(good))
		_, _, err := readMap(bytes.NewReader(b), int64(len(b)))
		return err
	}
	if err := read(func(b []byte) []byte { return b }); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		edit func(b []byte) []byte
		want error
	}{
		"empty":             {func([]byte) []byte { return nil }, store.ErrCorrupt},
		"other file":        {func(b []byte) []byte { b[0] = 'x'; return b }, store.ErrCorrupt},
		"newer":             {func(b []byte) []byte { b[8] = 2; return b }, store.ErrNewer},
		"version 0":         {func(b []byte) []byte { b[8] = 0; return b }, store.ErrCorrupt},
		"bit of the header": {func(b []byte) []byte { b[17] ^= 1; return b }, store.ErrCorrupt},
		"more header":       {func(b []byte) []byte { b[100] = 1; return b }, store.ErrCorrupt},
		"cut short":         {func(b []byte) []byte { return b[:len(b)-1] }, store.ErrCorrupt},
		"too long":          {func(b []byte) []byte { return append(b, 0) }, store.ErrCorrupt},
		"block too many":    {func(b []byte) []byte { b[headerSize+5000] |= 2; return b }, store.ErrCorrupt},
		"far too many":      {func(b []byte) []byte { b[len(b)-1] = 1; return b }, store.ErrCorrupt},
	} {
		if err := read(c.edit); !errors.Is(err, c.want) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func FuzzMap(f *testing.F) {
	good, err := os.ReadFile("testdata/map.v1")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Fuzz(func(t *testing.T, b []byte) {
		base, bits, err := readMap(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		if int64(len(b)) != mapSize(base.Size) || !bytes.Equal(b[:headerSize], encodeHeader(base)) ||
			bits.count() > (base.Size+BlockSize-1)/BlockSize {
			t.Errorf("takes %x as %+v with %d blocks", b[:64], base, bits.count())
		}
	})
}
