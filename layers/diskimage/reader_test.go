package diskimage_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"satchel/layers/diskimage"
	"satchel/layers/layerstest"
	"satchel/store"
)

// lends lends what a store gives, and takes it back.
type lends struct{ *layerstest.Store }

func (l lends) Locate(context.Context, []store.ID) error { return nil }

func (l lends) Lend(ctx context.Context, ids []store.ID, use func([][]byte) error) error {
	var chunks, lent [][]byte
	for _, id := range ids {
		b, err := l.Get(ctx, id)
		if err != nil {
			return err
		}
		lent = append(lent, bytes.Clone(b))
	}
	chunks = append(chunks, lent...)
	err := use(chunks)
	for _, b := range lent {
		clear(b)
	}
	return err
}

func TestReader(t *testing.T) {
	raw, data := aDisk(t, 17<<20)
	st, tree, err := load(t, raw, diskimage.Raw)
	if err != nil {
		t.Fatal(err)
	}
	e, err := tree.Disk()
	if err != nil {
		t.Fatal(err)
	}
	// The last chunk of the disk, and where it begins.
	var lost store.ID
	var end, lostAt int64
	for _, x := range e.Extents {
		if !x.ID.IsZero() {
			lost, lostAt = x.ID, end
		}
		end += x.Len
	}
	for name, from := range map[string]store.Getter{"gives": st, "lends": lends{st}} {
		t.Run(name, func(t *testing.T) {
			r, err := diskimage.Open(from, tree)
			if err != nil {
				t.Fatal(err)
			}
			for range 200 {
				off := rand.Int64N(int64(len(data)))
				p := make([]byte, 1+rand.IntN(1<<20))
				want := data[off:min(off+int64(len(p)), int64(len(data)))]
				n, err := r.ReadAt(p, off)
				if n != len(want) || (err != nil) != (n < len(p)) || err != nil && !errors.Is(err, io.EOF) {
					t.Fatalf("%d bytes at %d: %d, %v", len(p), off, n, err)
				}
				if !bytes.Equal(p[:n], want) {
					t.Fatalf("other bytes at %d", off)
				}
			}
			all := make([]byte, len(data))
			if n, err := r.ReadAt(all, 0); n != len(data) || err != nil || !bytes.Equal(all, data) {
				t.Errorf("the whole disk: %d bytes, %v", n, err)
			}
		})
	}
	st.Remove(lost)
	r, err := diskimage.Open(lends{st}, tree)
	if err != nil {
		t.Fatal(err)
	}
	all := make([]byte, len(data))
	if n, err := r.ReadAt(all, 0); int64(n) != lostAt || !errors.Is(err, store.ErrNotExist) || !bytes.Equal(all[:n], data[:n]) {
		t.Errorf("with a chunk lost at %d: %d bytes, %v", lostAt, n, err)
	}
}
