package dir_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"

	"satchel/layers"
	"satchel/layers/dir"
	"satchel/layers/layerstest"
	"satchel/store"
)

// lender counts what is looked up, and complains of a chunk that is read and was
// not. What it lent is other bytes when its time is over.
type lender struct {
	*layerstest.Store
	t *testing.T

	mu      sync.Mutex
	located map[store.ID]bool
	calls   int
}

func (l *lender) Locate(_ context.Context, ids []store.ID) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls++
	for _, id := range ids {
		l.located[id] = true
	}
	return nil
}

func (l *lender) Lend(ctx context.Context, ids []store.ID, use func(chunks [][]byte) error) error {
	chunks := make([][]byte, len(ids))
	for i, id := range ids {
		l.mu.Lock()
		if !l.located[id] {
			l.t.Errorf("chunk %s was not looked up", id.Short())
		}
		l.mu.Unlock()
		b, err := l.Get(ctx, id)
		if err != nil {
			return err
		}
		chunks[i] = bytes.Clone(b)
		defer clear(chunks[i])
	}
	return use(slices.Clone(chunks))
}

// TestExportLooksUpInBulk exports many small files, and one of many chunks and
// holes. Each chunk is its number, so that the files tell which they got.
func TestExportLooksUpInBulk(t *testing.T) {
	l := &lender{Store: layerstest.NewStore(), t: t, located: map[store.ID]bool{}}
	chunk := func(i int) layers.Extent {
		ids, err := l.Put(t.Context(), binary.BigEndian.AppendUint64(nil, uint64(i)))
		if err != nil {
			t.Fatal(err)
		}
		return layers.Extent{ID: ids[0], Len: 8}
	}
	big := layers.Entry{Path: "big", Type: layers.Regular, Mode: 0o640}
	for i := range 10_000 {
		x := chunk(i)
		if i%5000 == 4999 { // the chunks between are more than one system call takes
			x = layers.Extent{Len: 4096}
		}
		big.Extents = append(big.Extents, x)
		big.Size += x.Len
	}
	tree := layers.Tree{{Type: layers.Dir, Mode: 0o755}, big}
	for i := range 6_000 {
		tree = append(tree, layers.Entry{Path: fmt.Sprintf("small-%04d", i), Type: layers.Regular, Mode: 0o444, Size: 8, Extents: []layers.Extent{chunk(i + 1<<20)}})
	}
	dest := t.TempDir() + "/out"
	if _, err := dir.Export(t.Context(), tree, l, dest, dir.ExportOptions{}); err != nil {
		t.Fatal(err)
	}
	if l.calls > 6 {
		t.Errorf("looked up %d times", l.calls)
	}
	for i := range 6_000 {
		wantNumber(t, dest+fmt.Sprintf("/small-%04d", i), 0, i+1<<20)
	}
	off := int64(0)
	for i, x := range big.Extents {
		if !x.ID.IsZero() && i%7 == 0 {
			wantNumber(t, dest+"/big", off, i)
		}
		off += x.Len
	}
	if st, err := os.Stat(dest + "/big"); err != nil || st.Size() != big.Size {
		t.Errorf("%v, error %v; want %d bytes", st, err, big.Size)
	}
}

func wantNumber(t *testing.T, file string, off int64, want int) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 8)
	if _, err := f.ReadAt(b, off); err != nil || binary.BigEndian.Uint64(b) != uint64(want) {
		t.Fatalf("%s at %d: %x, error %v; want %d", file, off, b, err, want)
	}
}
