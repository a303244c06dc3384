package deltas_test

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"satchel/store"
	"satchel/syncer"
	"satchel/syncer/deltas"
)

// words makes up a text.
func words(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 5))
	var b []byte
	for len(b) < n {
		b = fmt.Appendf(b, "word%d ", int(r.ExpFloat64()*100))
	}
	return b
}

// office returns what an office document is like: an archive of a text and a
// picture.
func office(t *testing.T, text, picture []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, data := range map[string][]byte{"content.xml": text} {
		w, err := z.Create(name)
		if err == nil {
			_, err = w.Write(data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	w, err := z.CreateHeader(&zip.FileHeader{Name: "picture.png", Method: zip.Store})
	if err == nil {
		_, err = w.Write(picture)
	}
	if err = errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestDeltaOfAnArchive edits a document that is a zip archive.
func TestDeltaOfAnArchive(t *testing.T) {
	text, picture := words(1, 300_000), random(1, 30_000)
	old := office(t, text, picture)
	edited := office(t, slices.Concat(text[:120_000], []byte("a new paragraph "), text[120_000:]), picture)
	other := office(t, words(2, 100_000), picture)
	st, ids := storeOf(t, old[:20_000], old[20_000:], edited[:50_000], edited[50_000:], other)
	codec := deltas.New(st, st.Domain())
	for name, c := range map[string]struct {
		p    syncer.Pair
		want []byte
		most int
		open bool
	}{
		"edited":           {syncer.Pair{Base: ids[:2], Target: ids[2:4]}, edited, 2000, true},
		"with others":      {syncer.Pair{Others: ids[4:], Base: ids[:2], Target: ids[2:4]}, edited, 2000, true},
		"from a part":      {syncer.Pair{Base: ids[:1], Target: ids[2:4]}, edited, len(edited), false},
		"a part":           {syncer.Pair{Base: ids[:2], Target: ids[3:4]}, edited[50_000:], len(edited), false},
		"the picture, too": {syncer.Pair{Base: ids[1:2], Target: ids[4:]}, other, len(other) - 29_000, false},
	} {
		d, err := codec.Make(t.Context(), &c.p)
		if err != nil {
			t.Fatal(err)
		}
		if (d.Open > 0) != c.open || len(d.Data) > c.most {
			t.Errorf("%s: %d bytes, %d of an open form", name, len(d.Data), d.Open)
		}
		if d, err = syncer.ParseDelta(d.Append(nil)); err != nil {
			t.Fatal(err)
		}
		err = codec.Apply(t.Context(), &c.p, d, func(chunks [][]byte) error {
			if !bytes.Equal(slices.Concat(chunks...), c.want) {
				t.Errorf("%s: the delta makes something else", name)
			}
			return nil
		})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, n := range []int{0, 1, d.Open - 1, d.Open + 1} {
			wrong := d
			wrong.Open = n
			if d.Open > 0 && n >= 0 && !errors.Is(codec.Apply(t.Context(), &c.p, wrong, nil), syncer.ErrForged) {
				t.Errorf("%s: applied as if its open form had %d bytes", name, n)
			}
		}
	}
	sketch, err := codec.Sketch(t.Context(), &syncer.Pair{Base: ids[:2], Target: ids[2:4]})
	if err != nil || len(sketch) > 20 {
		t.Errorf("the archive that was edited lacks %d marks: %v", len(sketch), err)
	}
	if _, err := codec.Sketch(t.Context(), &syncer.Pair{Target: []store.ID{{1}}}); !errors.Is(err, store.ErrNotExist) {
		t.Error(err)
	}
}
