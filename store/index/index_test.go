package index

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"satchel/store"
	"satchel/store/durable"
	"satchel/store/internal/bolt"
	"satchel/store/pack"
)

func newIndex(t testing.TB) *Index {
	t.Helper()
	dir := t.TempDir()
	x := New(filepath.Join(dir, "index.db"), durable.FS{})
	if err := x.Create(filepath.Join(dir, "tmp")); err != nil {
		t.Fatal(err)
	}
	return x
}

func testID(i int) store.ID { return sha256.Sum256(fmt.Append(nil, i)) }

func testIDs(from, to int) (ids []store.ID) {
	for i := from; i < to; i++ {
		ids = append(ids, testID(i))
	}
	return ids
}

// testFrames holds chunks from to to, two to a frame, each of 100 bytes.
func testFrames(from, to int) (frames []pack.Frame) {
	for i := from; i < to; i += 2 {
		f := pack.Frame{Offset: int64(16 + 50*(i-from)), Len: 100}
		for j := i; j < min(i+2, to); j++ {
			f.Chunks = append(f.Chunks, pack.Chunk{ID: testID(j), Len: 100})
		}
		frames = append(frames, f)
	}
	return frames
}

func add(t testing.TB, x *Index, name string, from, to int) {
	t.Helper()
	if err := x.Add(t.Context(), name, 1000, testFrames(from, to)); err != nil {
		t.Fatal(err)
	}
}

func lookup(t testing.TB, x *Index, ids ...store.ID) []Entry {
	t.Helper()
	entries, err := x.Lookup(t.Context(), ids)
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

func TestAddLookup(t *testing.T) {
	x := newIndex(t)
	add(t, x, "pack-a", 0, 4)
	got := lookup(t, x, testID(3), testID(9), testID(0))
	want := []Entry{
		{Location: Location{Pack: "pack-a", Offset: 116, FrameLen: 100, Start: 100, Len: 100}, Found: true},
		{},
		{Location: Location{Pack: "pack-a", Offset: 16, FrameLen: 100, Start: 0, Len: 100}, Found: true},
	}
	if !slices.Equal(got, want) {
		t.Errorf("lookup: %+v, want %+v", got, want)
	}
}

func TestFirstLocationStays(t *testing.T) {
	x := newIndex(t)
	add(t, x, "pack-a", 0, 4)
	add(t, x, "pack-b", 2, 6)
	add(t, x, "pack-a", 0, 4) // again
	entries := lookup(t, x, testIDs(0, 6)...)
	for i, want := range []string{"pack-a", "pack-a", "pack-a", "pack-a", "pack-b", "pack-b"} {
		if got := entries[i].Pack; got != want {
			t.Errorf("chunk %d lies in %s, want %s", i, got, want)
		}
	}
	uses, err := x.Uses(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []Use{
		{Pack{"pack-a", 1000, 400}, 4, 400},
		{Pack{"pack-b", 1000, 400}, 2, 200},
	}
	if !slices.Equal(uses, want) {
		t.Errorf("uses: %+v, want %+v", uses, want)
	}
}

func TestCondemnation(t *testing.T) {
	x := newIndex(t)
	ctx := t.Context()
	add(t, x, "pack-a", 0, 10)
	if err := x.Condemn(ctx, testIDs(0, 8), 5); err != nil {
		t.Fatal(err)
	}
	if err := x.Condemn(ctx, testIDs(0, 9), 6); err != nil {
		t.Fatal(err)
	}
	if e := lookup(t, x, testID(0))[0]; !e.Found || !e.Condemned {
		t.Errorf("condemned chunk: %+v", e)
	}

	present, err := x.Present(ctx, []store.ID{testID(0), testID(9), testID(99)}) // rescues 0
	if err != nil || !slices.Equal(present, []bool{true, true, false}) {
		t.Errorf("present: %v, %v", present, err)
	}
	if err := x.Pardon(ctx, testIDs(1, 2)); err != nil {
		t.Fatal(err)
	}
	add(t, x, "pack-b", 2, 3) // stored by another writer in the meantime

	var doomed []Candidate
	for _, id := range testIDs(0, 10) {
		doomed = append(doomed, Candidate{ID: id, Condemned: 6}) // in epoch 5
	}
	chunks, size, err := x.Sweep(ctx, doomed)
	if err != nil || chunks != 5 || size != 500 {
		t.Errorf("swept %d chunks of %d bytes, %v: want 5 of 500", chunks, size, err)
	}
	for i, want := range []bool{true, true, true, false, false, false, false, false, true, true} {
		if got := lookup(t, x, testID(i))[0].Found; got != want {
			t.Errorf("chunk %d after the sweep: %v, want %v", i, got, want)
		}
	}
	candidates, err := x.Candidates(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range candidates.All() {
		if (c.Condemned > 0) != (c.ID == testID(8)) {
			t.Errorf("candidate %+v", c)
		}
	}
}

func TestMoveDropForget(t *testing.T) {
	x := newIndex(t)
	ctx := t.Context()
	add(t, x, "pack-a", 0, 4)
	add(t, x, "pack-b", 4, 6)
	if err := x.Move(ctx, []string{"pack-a"}, "pack-c", 500, testFrames(0, 6)); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"pack-c", "pack-c", "pack-c", "pack-c", "pack-b", "pack-b"} {
		if got := lookup(t, x, testID(i))[0].Pack; got != want {
			t.Errorf("chunk %d lies in %s, want %s", i, got, want)
		}
	}
	if err := x.Drop(ctx, []string{"pack-a", "never there"}); err != nil {
		t.Fatal(err)
	}
	packs, err := x.Packs(ctx)
	if err != nil || len(packs) != 2 {
		t.Errorf("packs after the drop: %v, %v", packs, err)
	}
	placed, err := x.In(ctx, "pack-b")
	if err != nil || len(placed) != 2 {
		t.Fatalf("in pack-b: %v, %v", placed, err)
	}
	moved := placed[1]
	moved.Offset++ // no longer where it was found bad
	if err := x.Forget(ctx, []Placed{placed[0], moved}); err != nil {
		t.Fatal(err)
	}
	if lookup(t, x, placed[0].ID)[0].Found || !lookup(t, x, placed[1].ID)[0].Found {
		t.Error("forget took the wrong chunk")
	}
}

func TestPaging(t *testing.T) {
	x := newIndex(t)
	const n = page + page/2
	for i := 0; i < n; i += page / 2 {
		add(t, x, fmt.Sprintf("pack-%d", i), i, i+page/2)
	}
	ids := testIDs(0, n)
	slices.SortFunc(ids, func(a, b store.ID) int { return bytes.Compare(a[:], b[:]) })
	wantCandidates(t, x, ids, 0)
	if err := x.Condemn(t.Context(), ids[page+7:page+9], 4); err != nil {
		t.Fatal(err)
	}
	wantCandidates(t, x, ids, 5, page+7, page+8)
	if err := x.Pardon(t.Context(), ids); err != nil {
		t.Fatal(err)
	}
	if err := x.Condemn(t.Context(), testIDs(0, n), 1); err != nil {
		t.Fatal(err)
	}
	c, err := x.Counts(t.Context())
	if want := (Counts{Chunks: n, Bytes: 100 * n, Condemned: n, Packs: 3, Stored: 3000, Packed: 100 * n}); err != nil || c != want {
		t.Errorf("counts %+v, %v: want %+v", c, err, want)
	}
}

// wantCandidates checks that ids are the candidates, and those at some places
// condemned.
func wantCandidates(t *testing.T, x *Index, ids []store.ID, condemned uint64, places ...int) {
	t.Helper()
	got, err := x.Candidates(t.Context())
	if err != nil || got.Len() != len(ids) {
		t.Fatalf("%d candidates, %v: want %d", got.Len(), err, len(ids))
	}
	for i, c := range got.All() {
		want := Candidate{ID: ids[i]}
		if slices.Contains(places, i) {
			want.Condemned = condemned
		}
		if c != want {
			t.Errorf("candidate %d: %v, want %v", i, c, want)
		}
		if at, found := got.Find(c.ID); at != i || !found {
			t.Errorf("candidate %d is found at %d: %v", i, at, found)
		}
	}
	if at, found := got.Find(testID(-1)); found {
		t.Errorf("a stranger is found at %d", at)
	}
}

// TestDamagedRecords changes records under the index.
func TestDamagedRecords(t *testing.T) {
	for what, damage := range map[string]func(t table) error{
		"record":   func(t table) error { id := testID(0); return t.chunks.Put(id[:], make([]byte, recordSize)) },
		"short":    func(t table) error { id := testID(0); return t.chunks.Put(id[:], []byte("short")) },
		"pack":     func(t table) error { return t.packs.Put(be.AppendUint32(nil, 1), []byte("../../etc/passwd and more")) },
		"no packs": func(t table) error { return t.packs.Delete(be.AppendUint32(nil, 1)) },
	} {
		x := newIndex(t)
		add(t, x, "pack-a", 0, 4)
		if err := x.file.Update(t.Context(), func(tx *bbolt.Tx) error { return damage(tables(tx)) }); err != nil {
			t.Fatal(err)
		}
		_, err := x.Lookup(t.Context(), testIDs(0, 1))
		if !errors.Is(err, store.ErrCorrupt) || !strings.Contains(err.Error(), "--rebuild-index") || !strings.Contains(err.Error(), x.file.Path()) {
			t.Errorf("%s: %v: want %v, the file's name and what to do", what, err, store.ErrCorrupt)
		}
	}
}

func TestOtherVersions(t *testing.T) {
	for what, c := range map[string]struct {
		format bolt.Format
		want   error
	}{
		"newer":   {bolt.Format{Name: "satchel-index", Version: Version + 1}, store.ErrNewer},
		"another": {bolt.Format{Name: "satchel-heads", Version: Version}, store.ErrCorrupt},
	} {
		path := filepath.Join(t.TempDir(), "index.db")
		if err := bolt.New(path, durable.FS{}, c.format).Create(path+".tmp", makeBuckets); err != nil {
			t.Fatal(err)
		}
		_, err := New(path, durable.FS{}).Lookup(t.Context(), nil)
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v: want %v and the file's name", what, err, c.want)
		}
	}
}

// TestRecordGolden pins the bytes of records.
func TestRecordGolden(t *testing.T) {
	r := record{1, 2, 3, 4, 5}
	const wantRecord = "00000001000000020000000300000004000000059dd8e065"
	if got := hex.EncodeToString(r.encode(testID(0))); got != wantRecord {
		t.Errorf("record %s, want %s", got, wantRecord)
	}
	const wantPack = "000000000000000600000000000000076e616d656f2a8204"
	if got := hex.EncodeToString(Pack{"name", 6, 7}.encode()); got != wantPack {
		t.Errorf("pack %s, want %s", got, wantPack)
	}
}

func FuzzRecord(f *testing.F) {
	id := testID(0)
	f.Add(id[:], record{1, 16, 100, 0, 100}.encode(id))
	f.Add([]byte{}, []byte{})
	f.Fuzz(func(t *testing.T, key, b []byte) {
		var id store.ID
		copy(id[:], key)
		if len(b) == recordSize { // past the checksum
			b = be.AppendUint32(b[:recordSize-4:recordSize-4], recordSum(id, b[:recordSize-4]))
		}
		r, err := parseRecord(id, b)
		if err != nil && !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("error of no kind: %v", err)
		}
		if err == nil && !slices.Equal(r.encode(id), b) {
			t.Errorf("%x reads as %+v, which is written otherwise", b, r)
		}
	})
}

func FuzzPack(f *testing.F) {
	f.Add(Pack{"0123456789abcdef-000001", 1, 2}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parsePack(b)
		if err != nil && !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("error of no kind: %v", err)
		}
		if err == nil && !slices.Equal(p.encode(), b) {
			t.Errorf("%x reads as %+v, which is written otherwise", b, p)
		}
	})
}
