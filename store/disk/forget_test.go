package disk

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"satchel/store"
)

// TestForgetHeals damages a pack in each of its parts. After Forget and putting
// the chunks again all is whole, and stays so when the index is rebuilt.
func TestForgetHeals(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(t *testing.T, path string, size int64)
	}{
		{"frame", func(t *testing.T, path string, size int64) { flip(t, path, size/3, 0) }},
		{"header", func(t *testing.T, path string, _ int64) { flip(t, path, 1, 0) }},
		{"directory", func(t *testing.T, path string, size int64) { flip(t, path, size-40, 0) }},
		{"cut off", func(t *testing.T, path string, size int64) {
			if err := os.Truncate(path, size/2); err != nil {
				t.Fatal(err)
			}
		}},
		{"missing", func(t *testing.T, path string, _ int64) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newTestStore(t)
			chunks := randomChunks(seeded(12), 40, 32<<10)
			ids := put(t, s, chunks...)
			packs, err := s.packFiles()
			if err != nil {
				t.Fatal(err)
			}
			c.damage(t, s.packPath(packs[0].name), packs[0].size)
			if lost := forgetDamage(t, s); c.name == "directory" && len(lost) > 0 {
				t.Errorf("%d chunks are lost with a directory", len(lost))
			}
			wantWhole(t, s)
			put(t, s, chunks...)
			for range 2 {
				fresh, err := Open(s.Dir())
				if err != nil {
					t.Fatal(err)
				}
				wantChunks(t, fresh, ids, chunks)
				wantWhole(t, fresh)
				if err := fresh.Rebuild(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			aside, err := filepath.Glob(filepath.Join(s.Dir(), packsName, "*", "*"+asideSuffix))
			if err != nil || len(aside) != 1 && c.name != "missing" {
				t.Errorf("packs set aside: %v, %v: want one", aside, err)
			}
		})
	}
}

// forgetDamage scrubs and forgets what that finds.
func forgetDamage(t *testing.T, s *Store) (lost []store.ID) {
	t.Helper()
	res, err := s.Verify(t.Context(), toyWalk(s), nil)
	if err != nil {
		t.Fatal(err)
	}
	if res.OK() {
		t.Fatal("scrub found nothing damaged")
	}
	if err := s.Forget(t.Context(), res); err != nil {
		t.Fatal(err)
	}
	for _, d := range res.Damaged {
		lost = append(lost, d.ID)
	}
	wantHas(t, s, false, lost...)
	return lost
}

func TestForgetWaitsForNobody(t *testing.T) {
	s := newTestStore(t)
	unlock, err := s.lockGC()
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	if err := s.Forget(t.Context(), VerifyResult{}); !errors.Is(err, store.ErrBusy) {
		t.Errorf("forget during gc: %v, want %v", err, store.ErrBusy)
	}
}
