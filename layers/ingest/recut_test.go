package ingest_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"satchel/layers"
	"satchel/layers/ingest"
	"satchel/layers/layerstest"
	"satchel/layers/manifest"
	"satchel/store"
)

// aDisk is a disk in memory that counts what is read of it.
type aDisk struct {
	data []byte
	read int64
	tell bool // where zeros are
}

func (d *aDisk) ReadAt(p []byte, off int64) (int, error) {
	d.read += int64(len(p))
	return bytes.NewReader(d.data).ReadAt(p, off)
}

func (d *aDisk) Zeros(off int64) (n int64) {
	for ; d.tell && off+n < int64(len(d.data)) && d.data[off+n] == 0; n++ {
	}
	return n
}

// blocks draws what n blocks hold: noise, zeros, files that end in zeros, and
// what looks like a manifest.
func blocks(t *rapid.T, n int) []byte {
	b := make([]byte, 0, n*ingest.HoleSize)
	for range n {
		block := noise(uint64(rapid.IntRange(1, 40).Draw(t, "seed")), ingest.HoleSize)
		switch rapid.IntRange(0, 6).Draw(t, "sort") {
		case 0, 1:
			clear(block)
		case 2:
			clear(block[3000:])
		case 3:
			copy(block, manifest.Magic)
		}
		b = append(b, block...)
	}
	return b
}

func whole(t *rapid.T, st *layerstest.Store, data []byte) *layers.Entry {
	d := st.Domain()
	d.Max = 32 << 10
	p := ingest.New(context.Background(), st, d)
	e := &layers.Entry{Path: layers.DiskPath, Type: layers.Regular}
	p.AddDisk(e, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
	if err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	return e
}

// TestRecutMakesWhatAWholeReadMakes: whatever changes, the extents are those of
// the disk cut from end to end, and little is read besides the changes.
func TestRecutMakesWhatAWholeReadMakes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		st := layerstest.NewStore()
		n := rapid.IntRange(1, 120).Draw(t, "blocks")
		data := blocks(t, n)
		data = data[:len(data)-layers.SectorSize*rapid.IntRange(0, 7).Draw(t, "sectors missing")]
		old := whole(t, st, data)
		now := &aDisk{data: slices.Clone(data), tell: rapid.Bool().Draw(t, "tell")}
		var dirty []ingest.Range
		var changed int64
		for at := 0; at < n; {
			off := at + rapid.IntRange(0, 40).Draw(t, "gap")
			end := min(off+rapid.IntRange(1, 9).Draw(t, "length"), n)
			if off >= n {
				break
			}
			r := ingest.Range{Off: int64(off) * ingest.HoleSize, End: min(int64(end)*ingest.HoleSize, int64(len(data)))}
			copy(now.data[r.Off:r.End], blocks(t, end-off))
			dirty = append(dirty, r)
			changed += r.End - r.Off
			at = end + 1
		}
		d := st.Domain()
		d.Max = 32 << 10
		p := ingest.New(context.Background(), st, d)
		got := &layers.Entry{Path: layers.DiskPath, Type: layers.Regular}
		if err := errors.Join(p.Recut(got, old.Extents, dirty, now), p.Wait()); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(contents(t, st, got), now.data) {
			t.Fatal("the disk is another one")
		}
		if want := whole(t, st, now.data); !slices.Equal(got.Extents, want.Extents) {
			t.Fatalf("extents\n%v\nwant\n%v", got.Extents, want.Extents)
		}
		// Before and behind each range there may be one run of chunks that are
		// cut anew; the runs of this test have no bound, those of disks rarely
		// have more than a chunk or two.
		if len(dirty) == 0 && now.read > 0 {
			t.Fatalf("read %d bytes though nothing had changed", now.read)
		}
	})
}

// TestRecutReadsLittle: one changed block of a large disk costs a few chunks.
func TestRecutReadsLittle(t *testing.T) {
	st := layerstest.NewStore()
	d := st.Domain()
	d.Max = 256 << 10
	data := noise(1, 16<<20)
	old := &layers.Entry{}
	p := ingest.New(t.Context(), st, d)
	p.AddDisk(old, opener(data))
	if err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	now := &aDisk{data: data}
	at := int64(9<<20 + 4096)
	copy(data[at:], noise(2, 4096))
	got := &layers.Entry{}
	if err := errors.Join(p.Recut(got, old.Extents, []ingest.Range{{Off: at, End: at + 4096}}, now), p.Wait()); err != nil {
		t.Fatal(err)
	}
	if now.read == 0 || now.read > 3*256<<10 {
		t.Errorf("read %d bytes for one block", now.read)
	}
	same := 0
	for _, x := range got.Extents {
		if slices.Contains(old.Extents, x) {
			same++
		}
	}
	if changed := len(got.Extents) - same; changed == 0 || changed > 3 {
		t.Errorf("%d extents are new, of %d", changed, len(got.Extents))
	}
}

func TestRecutReportsWhatCannotBeRead(t *testing.T) {
	st := layerstest.NewStore()
	p := ingest.New(t.Context(), st, st.Domain())
	old := []layers.Extent{{ID: store.ID{1}, Len: 8192}}
	err := p.Recut(&layers.Entry{Path: "disk"}, old, []ingest.Range{{Off: 0, End: 4096}}, &aDisk{data: make([]byte, 100)})
	if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("error %v", err)
	}
}
