package deltas_test

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"os"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"satchel/store"
	"satchel/store/disk"
	"satchel/syncer"
	"satchel/syncer/deltas"
)

var update = flag.Bool("update", false, "write the vectors in testdata anew")

func marksOf(data []byte) (marks syncer.Sketch) {
	deltas.Marks(data, func(m syncer.Mark) { marks = append(marks, m) })
	return marks
}

// TestMarksGolden holds the marks of a run of numbers: both ends must find the
// same ones.
func TestMarksGolden(t *testing.T) {
	var data []byte
	for i := range uint32(1 << 14) {
		data = binary.LittleEndian.AppendUint32(data, i*i)
	}
	const file = "testdata/v1.marks"
	got := marksOf(data).Append(nil)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(want) < 4*20 || !slices.Equal(got, want) {
		t.Errorf("marks %x, want %x", got, want)
	}
}

// TestMarksStayTheSame checks that a run has the same marks wherever it lies, but
// for those of which a part lies before it.
func TestMarksStayTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		run := random(rapid.Uint64().Draw(t, "run"), rapid.IntRange(64, 20_000).Draw(t, "length"))
		before := random(rapid.Uint64().Draw(t, "other"), rapid.IntRange(0, 5000).Draw(t, "before"))
		marks, moved := marksOf(run), marksOf(slices.Concat(before, run))
		if n := len(moved) - len(marks); n < 0 || !slices.Equal(moved[n:], marks) {
			t.Fatalf("marks %v moved are %v", marks, moved)
		}
	})
}

// a store with chunks in it.
func storeOf(t *testing.T, chunks ...[]byte) (*disk.Store, []store.ID) {
	t.Helper()
	st, err := disk.Create(t.TempDir() + "/store")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	w, err := st.Begin(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	ids, err := w.Put(t.Context(), chunks...)
	if err == nil {
		err = w.Flush(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return st, ids
}

// TestSketch checks that a sketch tells what neither base nor others have, and
// that others make a delta short wherever in them the bytes are.
func TestSketch(t *testing.T) {
	same, moved, noise := random(1, 60_000), random(2, 60_000), random(3, 60_000)
	target := slices.Concat(same[:30_000], moved[10_000:50_000], same[30_000:])
	st, ids := storeOf(t, same, noise, moved, target, make([]byte, 100_000))
	codec := deltas.New(st, st.Domain())
	sketch := func(p syncer.Pair) syncer.Sketch {
		t.Helper()
		s, err := codec.Sketch(t.Context(), &p)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	p := syncer.Pair{Base: ids[:1], BaseOffset: 1 << 20, Target: ids[3:4], Offset: 1 << 20}
	lacks := sketch(p)
	if len(lacks) < 20 || len(lacks) > 80 {
		t.Errorf("%d marks of 40,000 bytes", len(lacks))
	}
	there := marksOf(moved)
	for i, m := range lacks {
		// Where the runs meet there may be marks that neither has.
		if !slices.Contains(there, m) && i > 0 && i < len(lacks)-1 {
			t.Errorf("mark %x is not of what moved", m)
		}
	}
	if s := sketch(syncer.Pair{Base: ids[3:4], Target: ids[3:4]}); len(s) > 0 {
		t.Errorf("%d marks that the base has", len(s))
	}
	if s := sketch(syncer.Pair{Target: ids[4:5]}); len(s) > 1 {
		t.Errorf("%d marks of zeros, each once", len(s))
	}
	made := func(p syncer.Pair) syncer.Delta {
		t.Helper()
		d, err := codec.Make(t.Context(), &p)
		if err != nil {
			t.Fatal(err)
		}
		err = codec.Apply(t.Context(), &p, d, func(chunks [][]byte) error {
			if len(chunks) != 1 || !slices.Equal(chunks[0], target) {
				t.Error("the delta makes something else")
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		return d
	}
	if d := made(p); len(d.Data) < 40_000 {
		t.Errorf("a delta of %d bytes that makes 40,000 of nothing", len(d.Data))
	}
	p.Others = []store.ID{ids[1], ids[2]}
	if s := sketch(p); len(s) > 2 {
		t.Errorf("%d marks that the others have", len(s))
	}
	d := made(p)
	if len(d.Data) > 100 {
		t.Errorf("a delta of %d bytes where all is there", len(d.Data))
	}
	p.Others = []store.ID{ids[2], ids[1]}
	err := codec.Apply(context.Background(), &p, d, func([][]byte) error { return nil })
	if !errors.Is(err, syncer.ErrForged) {
		t.Errorf("applied to others in another order: %v", err)
	}
	p.Others = slices.Repeat(ids[4:5], 200)
	if _, err := codec.Make(t.Context(), &p); !errors.Is(err, syncer.ErrTooLarge) {
		t.Errorf("a delta of too many others: %v", err)
	}
	p.Others = []store.ID{{1}}
	if _, err := codec.Sketch(t.Context(), &p); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("a sketch of what is not there: %v", err)
	}
}
