package manifest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"satchel/layers"
	"satchel/store"
)

// one is a store of one chunk, under any ID that is asked for first.
type one struct {
	chunk []byte
	asked bool
}

func (o *one) Get(context.Context, store.ID) ([]byte, error) {
	if o.asked {
		return nil, store.ErrNotExist
	}
	o.asked = true
	return o.chunk, nil
}

// walked returns what a walk visits below a chunk, and whether it read the
// chunk.
func walked(chunk []byte) (ids []store.ID, ok bool) {
	w := &walk{ctx: context.Background(), get: &one{chunk: chunk}, visit: func(id store.ID) bool {
		ids = append(ids, id)
		return true
	}}
	self := store.ID{1}
	var entries, extents, bytes int64
	switch {
	case len(chunk) <= headerLen:
	case chunk[4] == kindVersion:
		w.versions(self)
	case chunk[4] == kindList:
		_, extents, bytes, _ = parseList(chunk, chunk[headerLen])
		w.list(chunk[headerLen], listRef{self, extents, bytes})
	default:
		if n, err := decodeNode(chunk); err == nil {
			entries = int64(len(n.records))
			for _, c := range n.children {
				entries += c.entries
			}
		}
		w.node(child{id: self, entries: entries}, -1)
	}
	if len(ids) == 0 || len(w.errs) > 0 && !errors.Is(w.errs[0], store.ErrNotExist) {
		return nil, false
	}
	return ids[1:], true
}

func byID(a, b store.ID) int { return slices.Compare(a[:], b[:]) }

// FuzzParseRefs compares with what a walk visits. A walk knows what should be
// there, so it takes no more than is taken here.
func FuzzParseRefs(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		refs, err := ParseRefs(b)
		want, ok := walked(b)
		if err != nil {
			if ok {
				t.Fatalf("a walk reads this: %v", err)
			}
			if !errors.Is(err, store.ErrCorrupt) && !errors.Is(err, store.ErrNewer) {
				t.Fatalf("error %v", err)
			}
			return
		}
		if len(refs.Sizes) != len(refs.Contents) {
			t.Fatalf("%d sizes of %d chunks", len(refs.Sizes), len(refs.Contents))
		}
		if !ok {
			return
		}
		got := slices.Concat(refs.Parents, refs.Below, refs.Contents)
		slices.SortFunc(got, byID)
		slices.SortFunc(want, byID)
		if !slices.Equal(got, want) {
			t.Fatalf("refers to %v, a walk visits %v", got, want)
		}
	})
}

func TestParseRefsRefuses(t *testing.T) {
	for chunk, want := range map[string]error{
		"": store.ErrCorrupt, "hello, world": store.ErrCorrupt, Magic: store.ErrCorrupt,
		Magic + "N\x02\x00\x01": store.ErrNewer, Magic + "V\x03\x00": store.ErrNewer, Magic + "X\x02\x00": store.ErrNewer,
		Magic + "Z\x01\x00\x01": store.ErrCorrupt, Magic + "X\x01\x00": store.ErrCorrupt,
	} {
		if _, err := ParseRefs([]byte(chunk)); !errors.Is(err, want) {
			t.Errorf("%q: error %v, want %v", chunk, err, want)
		}
	}
}

func BenchmarkParseRefs(b *testing.B) {
	w := &nodeWriter{}
	for i := range 128 {
		r := record{Entry: layers.Entry{Path: fmt.Sprintf("usr/share/doc/package/file%03d", i), Type: layers.Regular, Mode: 0o644,
			Size: 5, Extents: []layers.Extent{{ID: store.ID{byte(i + 1)}, Len: 5}}}}
		body, err := appendRecord(nil, &r)
		if err != nil {
			b.Fatal(err)
		}
		w.append(r.Path, body, 1)
	}
	chunk := w.encode()
	b.SetBytes(int64(len(chunk)))
	for b.Loop() {
		if refs, err := ParseRefs(chunk); err != nil || len(refs.Contents) != 128 {
			b.Fatal(err)
		}
	}
}
