package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"satchel/store"
)

// textChunks returns chunks of words, which a thorough compressor makes smaller
// than a quick one does.
func textChunks(r *rand.Rand, n, size int) [][]byte {
	words := make([]string, 2000)
	for i := range words {
		b := make([]byte, 2+r.IntN(9))
		for k := range b {
			b[k] = "eeeetttaaooinnsshrdlu"[r.IntN(21)]
		}
		words[i] = string(b)
	}
	chunks := make([][]byte, n)
	for i := range chunks {
		var b strings.Builder
		for b.Len() < size {
			b.WriteString(words[int(r.ExpFloat64()*200)%len(words)])
			b.WriteByte(' ')
		}
		chunks[i] = []byte(b.String())
	}
	return chunks
}

func recompress(t testing.TB, s *Store) RecompressResult {
	t.Helper()
	res, err := s.Recompress(context.Background(), time.Time{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func stored(t testing.TB, s *Store) int64 {
	t.Helper()
	packs, err := s.packFiles()
	if err != nil {
		t.Fatal(err)
	}
	n := int64(0)
	for _, p := range packs {
		n += p.size
	}
	return n
}

func TestRecompressMakesPacksSmallerOnce(t *testing.T) {
	s := newTestStore(t)
	r := seeded(60)
	text, noise := textChunks(r, 100, 20_000), randomChunks(r, 40, 8000)
	newToyLayer(t, s, "text", text...)
	newToyLayer(t, s, "noise", noise...)
	before := stored(t, s)

	var told, total int64
	res, err := s.Recompress(t.Context(), time.Time{}, func(done, of int64) { told, total = done, of })
	if err != nil {
		t.Fatal(err)
	}
	after := stored(t, s)
	if after > before*95/100 || before-after != res.FreedBytes {
		t.Errorf("%d bytes became %d, told %+v", before, after, res)
	}
	if res.Smaller == 0 || res.Copied == 0 || res.Removed == 0 || res.Left != 0 {
		t.Errorf("got %+v: want smaller frames, copied ones, and none left", res)
	}
	if told == 0 || told > total {
		t.Errorf("told of %d bytes of %d", told, total)
	}
	wantWhole(t, s)
	wantChunks(t, s, idsIn(s, text), text)
	wantChunks(t, s, idsIn(s, noise), noise)

	if again := recompress(t, s); again != (RecompressResult{}) {
		t.Errorf("a second time did %+v", again)
	}
	if err := s.Rebuild(t.Context()); err != nil {
		t.Fatal(err)
	}
	if again := recompress(t, s); again != (RecompressResult{}) {
		t.Errorf("with an index made anew, a second time did %+v", again)
	}
	newToyLayer(t, s, "more", textChunks(r, 20, 20_000)...)
	if more := recompress(t, s); more.Packs != 1 || more.Removed == 0 {
		t.Errorf("of new packs it did %+v", more)
	}
	wantWhole(t, s)
}

func idsIn(s *Store, chunks [][]byte) []store.ID {
	ids := make([]store.ID, len(chunks))
	for i, c := range chunks {
		ids[i] = s.Domain().ID(c)
	}
	return ids
}

func TestRecompressLeavesOutWhatIsGone(t *testing.T) {
	s := newTestStore(t)
	chunks := textChunks(seeded(61), 60, 20_000)
	waste, kept := chunks[:15], chunks[15:]
	put(t, s, chunks...)
	newToyLayer(t, s, "kept", kept...)
	collect(t, s) // too little is dead for gc to copy the rest
	res := recompress(t, s)
	if res.Smaller == 0 || res.Left != 0 {
		t.Errorf("got %+v", res)
	}
	wantWhole(t, s)
	wantHas(t, s, false, idsIn(s, waste)...)
	wantChunks(t, s, idsIn(s, kept), kept)
	uses, err := s.index.Uses(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range uses {
		if u.Live != u.Bytes {
			t.Errorf("pack %s has %d bytes, of which %d are live", u.Name, u.Bytes, u.Live)
		}
	}
}

func TestRecompressEndsInTime(t *testing.T) {
	s := newTestStore(t)
	chunks := textChunks(seeded(62), 20, 20_000)
	newToyLayer(t, s, "a", chunks...)
	before := stored(t, s)
	res, err := s.Recompress(t.Context(), time.Now().Add(-time.Second), nil)
	if err != nil || res.Packs != 0 || res.Left == 0 || stored(t, s) != before {
		t.Errorf("without time it did %+v, error %v", res, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Recompress(ctx, time.Time{}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	wantWhole(t, s)
	wantChunks(t, s, idsIn(s, chunks), chunks)
}

// TestRecompressStopsWithinAPack has time for one frame at a time: the rest is done
// the next times, and nothing twice.
func TestRecompressStopsWithinAPack(t *testing.T) {
	s := newTestStore(t)
	chunks := textChunks(seeded(63), 100, 20_000)
	newToyLayer(t, s, "a", chunks...)
	want := countFrames(t, s)
	done, tries := int64(0), 0
	for left := int64(1); left > 0; tries++ {
		asked := 0
		r := &recompression{store: s, late: func() bool { asked++; return asked > 2 }}
		if err := r.all(t.Context()); err != nil {
			t.Fatal(err)
		}
		if r.res.Smaller+r.res.Copied != 1 {
			t.Fatalf("time for one frame: %+v", r.res)
		}
		done++
		left = r.res.Left
		wantWhole(t, s)
	}
	if done != want || tries < 2 {
		t.Errorf("%d frames were written in %d tries: want %d", done, tries, want)
	}
	wantChunks(t, s, idsIn(s, chunks), chunks)
}

// countFrames returns how many frames the store's packs have.
func countFrames(t testing.TB, s *Store) (frames int64) {
	t.Helper()
	packs, err := s.packFiles()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range packs {
		dir, err := s.readDirectory(p.name)
		if err != nil {
			t.Fatal(err)
		}
		frames += int64(len(dir))
	}
	return frames
}

func TestRecompressLeavesDamageWhereItIs(t *testing.T) {
	s := newTestStore(t)
	chunks := textChunks(seeded(64), 100, 20_000)
	newToyLayer(t, s, "a", chunks...)
	packs, err := s.packFiles()
	if err != nil {
		t.Fatal(err)
	}
	path := s.packPath(packs[0].name)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 0x10
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	before, err := s.Verify(t.Context(), toyWalk(s), nil)
	if err != nil || len(before.Damaged) == 0 {
		t.Fatalf("%d damaged chunks, error %v", len(before.Damaged), err)
	}
	res := recompress(t, s)
	after, err := s.Verify(t.Context(), toyWalk(s), nil)
	if err != nil || len(after.Damaged) != len(before.Damaged) || res.Left != 1 {
		t.Errorf("%d damaged chunks became %d, error %v; told %+v", len(before.Damaged), len(after.Damaged), err, res)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the damaged pack: %v", err)
	}
}

// TestRecompressSurvivesPowerFailure fails power at every step.
func TestRecompressSurvivesPowerFailure(t *testing.T) {
	chunks := append(textChunks(seeded(65), 8, 3000), randomChunks(seeded(65), 4, 3000)...)
	everyStep(t, func(t *testing.T, p *powerFailure) {
		s := newTestStoreIn(t, memoryDir(t))
		put(t, s, randomChunks(seeded(66), 3, 2000)...)
		newToyLayer(t, s, "a", chunks...)
		failing, err := open(s.Dir(), p.fs())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := failing.Recompress(t.Context(), time.Time{}, nil); err != nil && !errors.Is(err, errPower) {
			t.Fatal(err)
		}
		wantWhole(t, s)
		wantChunks(t, s, idsIn(s, chunks), chunks)
		collect(t, s)
		recompress(t, s)
		wantWhole(t, s)
		wantChunks(t, s, idsIn(s, chunks), chunks)
		if again := recompress(t, s); again != (RecompressResult{}) {
			t.Errorf("when all is done it did %+v", again)
		}
		if litter, err := os.ReadDir(s.tmp("")); err != nil || len(litter) > 0 {
			t.Errorf("left in tmp: %v, error %v", litter, err)
		}
	})
}

// TestRecompressBesideOthers has readers, writers and gc at work meanwhile.
func TestRecompressBesideOthers(t *testing.T) {
	s := newTestStore(t)
	chunks := textChunks(seeded(67), 120, 10_000)
	newToyLayer(t, s, "a", chunks...)
	ids := idsIn(s, chunks)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	other := func(work func(o *Store, n int) error) {
		wg.Go(func() {
			o, err := Open(s.Dir())
			if err != nil {
				t.Error(err)
				return
			}
			defer o.Close()
			for n := 0; ; n++ {
				if err := work(o, n); err != nil {
					t.Error(err)
					return
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	ctx := t.Context()
	other(func(o *Store, n int) error {
		i := n % len(ids)
		b, err := o.Get(ctx, ids[i])
		if err == nil && !bytes.Equal(b, chunks[i]) {
			err = fmt.Errorf("chunk %d has other bytes", i)
		}
		return err
	})
	other(func(o *Store, _ int) error { return o.Frames(ctx, ids, func([]byte) error { return nil }) })
	other(func(o *Store, _ int) error {
		_, err := o.GC(ctx, toyWalk(o))
		if errors.Is(err, store.ErrBusy) {
			return nil
		}
		return err
	})
	for n := range 4 {
		more := textChunks(seeded(uint64(70+n)), 10, 10_000)
		newToyLayer(t, s, fmt.Sprint("more", n), more...)
		for {
			_, err := s.Recompress(ctx, time.Time{}, nil)
			if err == nil {
				break
			} else if !errors.Is(err, store.ErrBusy) {
				t.Fatal(err)
			}
		}
	}
	close(stop)
	wg.Wait()
	wantWhole(t, s)
	wantChunks(t, s, ids, chunks)
}

// TestShrinkAfterRecompression has a part of a recompressed pack die. To copy the rest,
// less well compressed, takes more room than a little frees.
func TestShrinkAfterRecompression(t *testing.T) {
	for dead, freed := range map[int]bool{11: false, 25: true} {
		s := newTestStore(t)
		chunks := textChunks(seeded(66), 100, 20_000)
		h, versions := history(t, s, chunks, chunks[dead:])
		recompress(t, s)
		before := stored(t, s)
		evict(t, s, h, versions[0])
		if _, err := s.Shrink(t.Context(), partialToy(s)); err != nil {
			t.Fatal(err)
		}
		if after := stored(t, s); after > before || after < before != freed {
			t.Errorf("%d %% are dead: %d bytes became %d", dead, before, after)
		}
		wantChunks(t, s, idsIn(s, chunks[dead:]), chunks[dead:])
	}
}
