package disk

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"satchel/store"
)

// TestLocate wants chunks that were looked up to be read without the index, and
// one that is not there to be no error before it is read.
func TestLocate(t *testing.T) {
	s := newTestStore(t)
	chunks := randomChunks(seeded(41), 50, 20<<10)
	ids := put(t, s, chunks...)
	none := store.ID{1}
	if err := s.Locate(t.Context(), append([]store.ID{none}, ids...)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), none); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("error %v, want ErrNotExist", err)
	}
	if err := os.Remove(filepath.Join(s.Dir(), indexName)); err != nil {
		t.Fatal(err)
	}
	wantChunks(t, s, ids, chunks)
	if err := s.Locate(t.Context(), ids); err != nil {
		t.Errorf("looked up again: %v", err)
	}
	if err := s.Locate(t.Context(), []store.ID{none}); err == nil {
		t.Error("a lookup without an index did not fail")
	}
}
