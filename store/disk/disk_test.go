package disk

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"satchel/store"
)

// newTestStore makes a store in a directory of its own.
func newTestStore(t testing.TB) *Store {
	t.Helper()
	return newTestStoreIn(t, t.TempDir())
}

// memoryDir returns a directory in memory where there is one, for tests that
// sync thousands of times and learn nothing from waiting for a disk.
func memoryDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "satchel-test-") //nolint:usetesting // another file system than the tests'
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func newTestStoreIn(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Create(filepath.Join(dir, "store"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// randomChunks returns n chunks of up to size bytes, half of them compressible.
func randomChunks(r *rand.Rand, n, size int) [][]byte {
	chunks := make([][]byte, n)
	for i := range chunks {
		b := make([]byte, 1+r.IntN(size))
		for j := range b {
			b[j] = byte(r.Uint32())
			if i%2 == 0 {
				b[j] = 'a' + b[j]%4
			}
		}
		chunks[i] = b
	}
	return chunks
}

// put stores chunks with a writer of its own and returns their IDs.
func put(t testing.TB, s *Store, chunks ...[]byte) []store.ID {
	t.Helper()
	ctx := context.Background()
	w, err := s.Begin(ctx, "test")
	if err != nil {
		t.Fatal(err)
	}
	ids, err := w.Put(ctx, chunks...)
	if err == nil {
		err = w.Flush(ctx)
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return ids
}

// wantChunks checks that the store returns all the chunks.
func wantChunks(t testing.TB, s *Store, ids []store.ID, chunks [][]byte) {
	t.Helper()
	for i, id := range ids {
		got, err := s.Get(context.Background(), id)
		if err != nil {
			t.Fatalf("chunk %d: %v", i, err)
		}
		if !bytes.Equal(got, chunks[i]) {
			t.Fatalf("chunk %d: got %d bytes that differ from the %d that were put", i, len(got), len(chunks[i]))
		}
	}
}

func TestPutGet(t *testing.T) {
	s := newTestStore(t)
	chunks := randomChunks(rand.New(rand.NewPCG(1, 1)), 300, 100<<10)
	ids := put(t, s, chunks...)
	wantChunks(t, s, ids, chunks)

	again, err := Open(s.Dir())
	if err != nil {
		t.Fatal(err)
	}
	wantChunks(t, again, ids, chunks)
	if again.Domain() != s.Domain() {
		t.Error("the domain changed when the store was opened")
	}
}

func TestOpenNothing(t *testing.T) {
	if _, err := Open(t.TempDir()); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("open an empty directory: %v, want %v", err, store.ErrNotExist)
	}
}

func TestCreateTwice(t *testing.T) {
	s := newTestStore(t)
	if _, err := Create(s.Dir()); !errors.Is(err, store.ErrExist) {
		t.Errorf("create a store over another: %v, want %v", err, store.ErrExist)
	}
}

func TestCreateInDirectoryInUse(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "thesis.odt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Create(dir)
	if !errors.Is(err, store.ErrExist) || !strings.Contains(err.Error(), "thesis.odt") {
		t.Errorf("create a store among files: %v, want %v and the file's name", err, store.ErrExist)
	}
}
