package exchange

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"satchel/layers"
	"satchel/layers/manifest"
	"satchel/layers/repo"
	"satchel/store"
	"satchel/syncer"
	"satchel/syncer/deltas"
)

// noise returns letters that hardly compress.
func noise(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 7))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('!' + r.IntN(90))
	}
	return b
}

// cutAt is where the files of tests are cut.
const cutAt = 60_000

// commitFiles makes a version of files, which are cut where nothing shifts.
func (h *home) commitFiles(t fataler, files map[string][]byte) store.ID {
	t.Helper()
	ctx := context.Background()
	w := h.writer(t)
	defer w.Close()
	tree := layers.Tree{{Type: layers.Dir, Mode: 0o755}}
	for path, b := range files {
		e := layers.Entry{Path: path, Type: layers.Regular, Mode: 0o644, Size: int64(len(b))}
		for c := range slices.Chunk(b, cutAt) {
			e.Extents = append(e.Extents, layers.Extent{ID: must(w.Put(ctx, c))(t)[0], Len: int64(len(c))})
		}
		tree = append(tree, e)
	}
	tree.Sort()
	head := must(h.Heads().Head(ctx, h.layer))(t)
	var parents []store.ID
	if !head.Version.IsZero() {
		parents = []store.ID{head.Version}
	}
	return must(repo.New(h.Store, "test").Commit(ctx, w, repo.Commit{Head: head, Kind: layers.Data, Tree: tree, Parents: parents}))(t)[0]
}

// TestWhatIsElsewhereDoesNotMove sends and fetches new files that are put
// together from parts of others, with and without cuts.
func TestWhatIsElsewhereDoesNotMove(t *testing.T) {
	for name, cuts := range map[string]float64{"whole": 0, "cut": 0.1} {
		t.Run(name, func(t *testing.T) {
			dir := memoryDir(t)
			a := newHome(t, dir, nil)
			p := newPeer(newHome(t, dir, a), 1)
			b := newHome(t, dir, a)
			files := map[string][]byte{}
			for i := range 40 {
				files[fmt.Sprintf("old/%c%c", 'a'+i/6, 'a'+i%6)] = noise(uint64(i), 50_000)
			}
			first := a.commitFiles(t, files)
			if err := Push(t.Context(), a.Store, p, a.layer, store.ID{}, first, Options{}); err != nil {
				t.Fatal(err)
			}
			if err := pull(b, p, first, nil, Options{}); err != nil {
				t.Fatal(err)
			}
			part := func(i, from, to int) []byte { return noise(uint64(i), 50_000)[from:to] }
			files["new/one"] = slices.Concat(part(30, 20_000, 40_000), part(7, 0, 15_000), part(12, 33_000, 50_000))
			files["old/aa"] = slices.Concat(files["old/aa"], part(20, 3_000, 23_000))
			second := a.commitFiles(t, files)
			p.forget()
			p.cuts = cuts
			persist(t, func() error {
				return Push(t.Context(), a.Store, p, a.layer, first, second, Options{Deltas: Always})
			})
			sent := p.stored
			p.forget()
			persist(t, func() error { return pull(b, p, second, nil, Options{Deltas: Always}) })
			t.Logf("%d bytes sent, %d fetched, %v", sent, p.stored, p.requests)
			if cuts == 0 && (sent > 3000 || p.stored > 3000) {
				t.Errorf("%d bytes were sent and %d fetched of what is there", sent, p.stored)
			}
			if cuts == 0 && p.requests["fetch"] > 0 {
				t.Errorf("requests %v: something moved whole", p.requests)
			}
			if !reflect.DeepEqual(b.tree(t, second), a.tree(t, second)) {
				t.Error("the trees differ")
			}
		})
	}
}

// TestArchiveMovesLittle edits the text of an office document so far behind its
// begin that the first chunks stay, and so does what lies behind.
func TestArchiveMovesLittle(t *testing.T) {
	archive := func(text []byte) []byte {
		var b bytes.Buffer
		z := zip.NewWriter(&b)
		for _, data := range [][]byte{text, noise(2, 1000)} {
			if _, err := must(z.Create("content.xml"))(t).Write(data); err != nil {
				t.Fatal(err)
			}
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	letters := noise(1, 8_000)
	r := rand.New(rand.NewPCG(5, 5))
	var text []byte
	for len(text) < 1<<20 {
		at := 4 * r.IntN(len(letters)/4)
		text = append(append(text, letters[at:at+4]...), ' ')
	}
	old := archive(text)
	at := len(text) * 8 / 10
	edited := archive(slices.Concat(text[:at], []byte("a new paragraph "), text[at:]))
	if !bytes.Equal(old[:2*cutAt], edited[:2*cutAt]) {
		t.Fatal("the first chunks differ")
	}
	dir := memoryDir(t)
	a := newHome(t, dir, nil)
	p := newPeer(newHome(t, dir, a), 1)
	b := newHome(t, dir, a)
	first := a.commitFiles(t, map[string][]byte{"letter.odt": old})
	if err := Push(t.Context(), a.Store, p, a.layer, store.ID{}, first, Options{}); err != nil {
		t.Fatal(err)
	}
	if err := pull(b, p, first, nil, Options{}); err != nil {
		t.Fatal(err)
	}
	second := a.commitFiles(t, map[string][]byte{"letter.odt": edited})
	p.forget()
	if err := Push(t.Context(), a.Store, p, a.layer, first, second, Options{}); err != nil {
		t.Fatal(err)
	}
	sent := p.stored
	p.forget()
	if err := pull(b, p, second, nil, Options{}); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes sent, %d fetched, of a document of %d", sent, p.stored, len(edited))
	if sent > 4000 || p.stored > 4000 {
		t.Errorf("%d bytes sent, %d fetched, of a document of %d", sent, p.stored, len(edited))
	}
	if !reflect.DeepEqual(b.tree(t, second), a.tree(t, second)) {
		t.Error("the trees differ")
	}
}

// TestSearchReadsNoMoreThanItMay checks what is looked through, and in which
// order.
func TestSearchReadsNoMoreThanItMay(t *testing.T) {
	a := newHome(t, memoryDir(t), nil)
	files := map[string][]byte{}
	for i := range 20 {
		files[fmt.Sprintf("f%02d", i)] = noise(uint64(i), 50_000)
	}
	first := a.commitFiles(t, files)
	wanted := slices.Concat(noise(0, 50_000)[:20_000], noise(19, 50_000)[:20_000])
	files["f10"] = wanted
	delete(files, "f19")
	second := a.commitFiles(t, files)
	older := must(manifest.ReadVersion(t.Context(), a, first))(t)
	newer := must(manifest.ReadVersion(t.Context(), a, second))(t)
	var marks syncer.Sketch
	deltas.Marks(wanted, func(m syncer.Mark) { marks = append(marks, m) })
	for left, want := range map[int64]int{0: 0, 149_999: 1, 150_000: 2, 1 << 30: 2} {
		s := newSearch(a.Store, []pairing{{sketch: marks}}, 0)
		s.left = left
		if err := s.version(t.Context(), older, newer); err != nil {
			t.Fatal(err)
		}
		if len(s.chunks) != want {
			t.Errorf("with %d bytes to be read %d chunks were found, want %d", left, len(s.chunks), want)
		}
		if len(s.seen) > int(left/50_000) {
			t.Errorf("with %d bytes to be read %d chunks were", left, len(s.seen))
		}
	}
}

// TestChoose has pairs given others of what a search has found, at random.
func TestChoose(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := &search{marks: map[syncer.Mark][]int{}}
		sizes := rapid.SliceOfN(rapid.IntRange(1, 4<<20), 1, 400).Draw(t, "chunks")
		for i, n := range sizes {
			var marks []syncer.Mark
			for range rapid.IntRange(1, 5).Draw(t, "marks") {
				marks = append(marks, syncer.Mark(rapid.IntRange(0, 600).Draw(t, "mark")))
			}
			s.note(place{id: numbered(i), len: n}, marks)
		}
		p := pairing{Pair: syncer.Pair{Target: []store.ID{{1}}}, size: rapid.IntRange(1, 8<<20).Draw(t, "size"), base: rapid.IntRange(0, 16<<20).Draw(t, "base")}
		for m := range rapid.IntRange(0, 600).Draw(t, "lacks") {
			p.sketch = append(p.sketch, syncer.Mark(m))
		}
		q := p
		s.choose(&p)
		s.choose(&q)
		if !slices.Equal(p.Others, q.Others) {
			t.Fatal("the same search gives other chunks")
		}
		if err := p.Check(); err != nil {
			t.Fatal(err)
		}
		size, has := 0, map[int]bool{}
		for _, n := range numbersOf(p.Others) {
			if has[n] {
				t.Fatalf("chunk %d twice", n)
			}
			has[n] = true
			size += sizes[n]
		}
		if size > 16<<20-p.base || size > mostOthers || size > 16*p.size+slackOthers {
			t.Fatalf("%d bytes of others for %d and a base of %d", size, p.size, p.base)
		}
		room := min(16<<20-p.base, mostOthers, 16*p.size+slackOthers) - size
		for _, m := range p.sketch {
			at := s.marks[m]
			if len(at) > markPlaces {
				t.Fatalf("a mark is in %d chunks", len(at))
			}
			covered := len(at) == 0 || slices.ContainsFunc(at, func(c int) bool { return has[c] || sizes[c] > room })
			if !covered && len(p.Others) < syncer.MaxPairOthers {
				t.Fatalf("mark %d is in chunks %v, of which none was chosen", m, at)
			}
		}
	})
}

// TestDamageIsNoHindrance searches a store that has lost a chunk.
func TestDamageIsNoHindrance(t *testing.T) {
	a := newHome(t, memoryDir(t), nil)
	w := a.writer(t)
	defer w.Close()
	id := must(w.Put(t.Context(), bytes.Repeat(noise(1, 5000), 2)))(t)[0]
	if err := w.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	var marks syncer.Sketch
	deltas.Marks(noise(1, 5000), func(m syncer.Mark) { marks = append(marks, m) })
	s := newSearch(a.Store, []pairing{{sketch: marks}}, perMark)
	s.ahead = []place{{id: store.ID{9}, len: 10}, {id: id, len: 10_000}}
	if err := s.read(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(s.chunks) != 1 || s.chunks[0].id != id {
		t.Errorf("found %v", s.chunks)
	}
}
