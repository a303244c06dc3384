package disk

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"satchel/store"
)

// flip changes one bit of a file and returns a function that changes it back.
func flip(t testing.TB, name string, off int64, bit int) (undo func()) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], off); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1 << bit
	if _, err := f.WriteAt(b[:], off); err != nil {
		t.Fatal(err)
	}
	return func() { flip(t, name, off, bit) }
}

// TestScrubNamesEveryFlip flips bits all over the packs. Each must be named,
// as damage to a pack, and every chunk that can no longer be read must be
// named too, and no other.
func TestScrubNamesEveryFlip(t *testing.T) {
	s := newTestStore(t)
	r := seeded(10)
	chunks := randomChunks(r, 60, 6<<10)
	newToyLayer(t, s, "a", chunks...)
	ids := put(t, s, chunks...)
	packs, err := s.packFiles()
	if err != nil {
		t.Fatal(err)
	}
	for n := range 1000 {
		p := packs[r.IntN(len(packs))]
		off := r.Int64N(p.size)
		undo := flip(t, s.packPath(p.name), off, r.IntN(8))
		fresh, err := Open(s.Dir())
		if err != nil {
			t.Fatal(err)
		}
		res, err := fresh.Verify(t.Context(), toyWalk(fresh), nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(res.Torn) == 0 || res.Torn[0].File != s.packPath(p.name) {
			t.Fatalf("flip at %d of %d: scrub names packs %v", off, p.size, res.Torn)
		}
		if n%8 == 0 {
			wantAgreement(t, fresh, ids, res)
		}
		undo()
	}
	wantWhole(t, s)
}

// wantAgreement checks that exactly those chunks cannot be read that the scrub
// calls damaged.
func wantAgreement(t *testing.T, s *Store, ids []store.ID, res VerifyResult) {
	t.Helper()
	damaged := map[store.ID]bool{}
	for _, d := range res.Damaged {
		damaged[d.ID] = true
	}
	for i, id := range ids {
		_, err := s.Get(t.Context(), id)
		if errors.Is(err, store.ErrCorrupt) != damaged[id] {
			t.Fatalf("chunk %d: get says %v, scrub says damaged: %v\n%+v", i, err, damaged[id], res.Torn)
		}
	}
}

// TestTruncatedPack cuts packs off. What lies before the cut is still there,
// and the index can be rebuilt from it.
func TestTruncatedPack(t *testing.T) {
	s := newTestStore(t)
	chunks := randomChunks(seeded(11), 60, 64<<10)
	ids := put(t, s, chunks...)
	packs, err := s.packFiles()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(s.packPath(packs[0].name), packs[0].size/2); err != nil {
		t.Fatal(err)
	}
	res, err := s.Verify(t.Context(), toyWalk(s), nil)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(res.Damaged); n < len(ids)/4 || n > len(ids)*3/4 {
		t.Errorf("scrub names %d of %d chunks as damaged: want about half", n, len(ids))
	}
	if len(res.Torn) == 0 {
		t.Error("scrub does not name the truncated pack")
	}
	var torn *TornError
	if err := s.Rebuild(t.Context()); !errors.As(err, &torn) || !strings.Contains(err.Error(), packs[0].name) {
		t.Errorf("rebuild: %v, want an error that names %s", err, packs[0].name)
	}
	have, err := s.Has(t.Context(), ids)
	if err != nil {
		t.Fatal(err)
	}
	damaged := map[store.ID]bool{}
	for _, d := range res.Damaged {
		damaged[d.ID] = true
	}
	for i, id := range ids {
		if have[i] == damaged[id] {
			t.Errorf("chunk %d: rebuilt index has it: %v, scrub called it damaged: %v", i, have[i], damaged[id])
		}
	}
	// What was lost is stored again when it is put again.
	put(t, s, chunks...)
	wantChunks(t, s, ids, chunks)
}

// TestDamagedIndex damages the index in every page. Whatever is asked then
// either succeeds with the right answer or fails with ErrCorrupt, and a
// rebuilding mends all.
func TestDamagedIndex(t *testing.T) {
	s := newTestStore(t)
	r := seeded(13)
	chunks := randomChunks(r, 400, 200)
	ids := put(t, s, chunks...)
	name := filepath.Join(s.Dir(), indexName)
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for range 200 {
		b := bytes.Clone(whole)
		for range 1 + r.IntN(20) {
			b[r.IntN(len(b))] ^= 1 << r.IntN(8)
		}
		if r.IntN(4) == 0 {
			b = b[:r.IntN(len(b))]
		}
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		tryDamaged(t, s.Dir(), ids, chunks)
	}
	if err := s.Rebuild(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantWhole(t, s)
	wantHas(t, s, true, ids...)
}

func tryDamaged(t *testing.T, dir string, ids []store.ID, chunks [][]byte) {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i, id := range ids[:20] {
		b, err := s.Get(t.Context(), id)
		switch {
		case err == nil && !bytes.Equal(b, chunks[i]):
			t.Fatal("a damaged index gave wrong bytes")
		case err != nil && !errors.Is(err, store.ErrCorrupt) && !errors.Is(err, store.ErrNotExist):
			t.Fatalf("get with a damaged index: %v", err)
		case errors.Is(err, store.ErrCorrupt) && !strings.Contains(err.Error(), "satchel store verify"):
			t.Fatalf("error does not say what to do: %v", err)
		}
	}
	if _, err := s.Verify(t.Context(), toyWalk(s), nil); err != nil && !errors.Is(err, store.ErrCorrupt) {
		t.Fatalf("verify with a damaged index: %v", err)
	}
}

func TestMissingIndex(t *testing.T) {
	s := newTestStore(t)
	chunks := randomChunks(seeded(14), 30, 64<<10)
	h := newToyLayer(t, s, "a", chunks...)
	name := filepath.Join(s.Dir(), indexName)
	for what, damage := range map[string]func() error{
		"missing": func() error { return os.Remove(name) },
		"empty":   func() error { return os.Truncate(name, 0) },
		"short":   func() error { return os.Truncate(name, 5000) },
	} {
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		_, err := s.Has(t.Context(), []store.ID{h.Version})
		if !errors.Is(err, store.ErrCorrupt) || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "--rebuild-index") {
			t.Errorf("%s index: %v: want %v, the file's name and what to do", what, err, store.ErrCorrupt)
		}
		if err := s.Rebuild(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantWhole(t, s)
	}
}

func TestDamagedHeads(t *testing.T) {
	s := newTestStore(t)
	newToyLayer(t, s, "a", []byte("content"))
	name := filepath.Join(s.Dir(), headsName)
	if err := os.Truncate(name, 6000); err != nil {
		t.Fatal(err)
	}
	_, err := s.Heads().List(t.Context())
	if !errors.Is(err, store.ErrCorrupt) || !strings.Contains(err.Error(), name) {
		t.Errorf("truncated heads: %v: want %v and the file's name", err, store.ErrCorrupt)
	}
}

func TestNewerStore(t *testing.T) {
	s := newTestStore(t)
	name := filepath.Join(s.Dir(), configName)
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var c map[string]any
	if err := json.Unmarshal(b, &c); err != nil {
		t.Fatal(err)
	}
	c["version"], c["domain"] = version+1, "in a form not known yet"
	if b, err = json.Marshal(c); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Open(s.Dir())
	if !errors.Is(err, store.ErrNewer) || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "upgrade") {
		t.Errorf("open a newer store: %v: want %v, the file's name and what to do", err, store.ErrNewer)
	}
}

func TestDamagedConfig(t *testing.T) {
	s := newTestStore(t)
	name := filepath.Join(s.Dir(), configName)
	for _, text := range []string{"", "{", `{"version":0}`, `{"version":1,"domain":{"key":"00"}}`, `{"version":1}`} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(s.Dir()); !errors.Is(err, store.ErrCorrupt) || !strings.Contains(err.Error(), name) {
			t.Errorf("open with configuration %q: %v: want %v and the file's name", text, err, store.ErrCorrupt)
		}
	}
}

func TestConfigIsSecret(t *testing.T) {
	s := newTestStore(t)
	info, err := os.Stat(filepath.Join(s.Dir(), configName))
	if err != nil {
		t.Fatal(err)
	}
	if perm := info.Mode().Perm(); perm != 0o600 {
		t.Errorf("the configuration, which holds the key, has mode %v", perm)
	}
}

// TestBusy locks the index as another process does that does not let go.
func TestBusy(t *testing.T) {
	s := newTestStore(t)
	name := filepath.Join(s.Dir(), indexName)
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	s.index.SetPatience(time.Millisecond)
	if _, err := s.Stats(t.Context()); !errors.Is(err, store.ErrBusy) || !strings.Contains(err.Error(), name) {
		t.Errorf("index in use: %v: want %v and the file's name", err, store.ErrBusy)
	}
	s.index.SetPatience(time.Hour)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Stats(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("index in use, context cancelled: %v", err)
	}
}

// TestFullDisk fills a file system of a few megabytes.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("satchel-test", dir, "tmpfs", 0, "size=6m"); err != nil {
		t.Skipf("cannot mount a small file system: %v", err)
	}
	defer unix.Unmount(dir, 0)
	s, err := Create(filepath.Join(dir, "store"))
	if err != nil {
		t.Fatal(err)
	}
	r := seeded(15)
	first := randomChunks(r, 10, 64<<10)
	newToyLayer(t, s, "a", first...)
	ids := put(t, s, first...)

	w, err := s.Begin(t.Context(), "fills the disk")
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		if _, err = w.Put(t.Context(), randomChunks(r, 20, 64<<10)...); err == nil {
			err = w.Flush(t.Context())
		}
	}
	if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), s.Dir()) {
		t.Errorf("full disk: %v: want %v and the directory's name", err, unix.ENOSPC)
	}
	if _, err := w.Put(t.Context(), []byte("more")); err == nil {
		t.Error("the writer takes more after it failed")
	}
	if err := w.Close(); err != nil {
		t.Errorf("close after a full disk: %v", err)
	}
	if left, err := os.ReadDir(filepath.Join(s.Dir(), tmpName)); err != nil || len(left) > 0 {
		t.Errorf("left in the directory for temporary files: %v, %v", left, err)
	}
	wantWhole(t, s)
	wantChunks(t, s, ids, first)
	collect(t, s) // makes room
	put(t, s, randomChunks(r, 5, 64<<10)...)
}
