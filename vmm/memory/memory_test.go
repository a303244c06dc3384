package memory_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"satchel/store"
	"satchel/vmm/memory"
)

func content(t *rapid.T) []byte {
	b := make([]byte, memory.Page*rapid.IntRange(1, 600).Draw(t, "pages"))
	for range rapid.IntRange(0, 8).Draw(t, "writes") {
		at := rapid.IntRange(0, len(b)-1).Draw(t, "at")
		value := byte(rapid.IntRange(0, 255).Draw(t, "byte"))
		copy(b[at:], bytes.Repeat([]byte{value}, rapid.IntRange(1, 3*memory.Page).Draw(t, "length")))
	}
	return b
}

func TestSaveAndLoad(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		want := content(t)
		m, err := memory.New(int64(len(want)))
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		if _, err := m.WriteAt(want, 0); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, "memory")
		os.Remove(file)
		sum, err := memory.Save(context.Background(), m, file)
		if err != nil {
			t.Fatal(err)
		}
		pages := int64(0)
		for at := 0; at < len(want); at += memory.Page {
			if !bytes.Equal(want[at:at+memory.Page], make([]byte, memory.Page)) {
				pages++
			}
		}
		info, err := os.Stat(file)
		if err != nil || info.Mode().Perm() != 0o600 || info.Size() != int64(len(want)) || sum.Pages != pages {
			t.Fatalf("file %v, %v; sum %+v, want %d pages", info, err, sum, pages)
		}
		const where = 4096 // the file system may need a block for where so many runs lie
		if used := info.Sys().(*syscall.Stat_t).Blocks * 512; used > pages*memory.Page+where {
			t.Fatalf("the file takes %d bytes for %d pages", used, pages)
		}
		again, err := memory.Load(context.Background(), file, sum)
		if err != nil {
			t.Fatal(err)
		}
		defer again.Close()
		got, err := io.ReadAll(io.NewSectionReader(again, 0, int64(len(want))+1))
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("loaded something else, %v", err)
		}
	})
}

// A new memory is zero, whatever those before it held.
func TestNewIsZero(t *testing.T) {
	const size = 4 << 20
	for range 3 {
		m, err := memory.New(size)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(io.NewSectionReader(m, 0, size+1))
		if err != nil || !bytes.Equal(got, make([]byte, size)) {
			t.Fatalf("a new memory of %d bytes is not zero: %v", len(got), err)
		}
		if _, err := m.WriteAt(bytes.Repeat([]byte{0xa5}, size), 0); err != nil {
			t.Fatal(err)
		}
		if used, err := memory.Used(m); err != nil || used != size {
			t.Errorf("it uses %d bytes, %v", used, err)
		}
		m.Close()
	}
}

func saved(t *testing.T) (string, memory.Sum) {
	t.Helper()
	m, err := memory.New(8 * memory.Page)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if _, err := m.WriteAt([]byte("state"), 3*memory.Page); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "memory")
	sum, err := memory.Save(t.Context(), m, file)
	if err != nil {
		t.Fatal(err)
	}
	return file, sum
}

func TestDamageIsFound(t *testing.T) {
	write := func(s string, page int64) func(*os.File) error {
		return func(f *os.File) error { _, err := f.WriteAt([]byte(s), page*memory.Page); return err }
	}
	for name, damage := range map[string]func(*os.File) error{
		"bit":    write("stale", 3),
		"more":   write("x", 5),
		"zeroed": write("\x00\x00\x00\x00\x00", 3),
		"short":  func(f *os.File) error { return f.Truncate(4 * memory.Page) },
		"long":   func(f *os.File) error { return f.Truncate(9 * memory.Page) },
		"elsewhere": func(f *os.File) error {
			return errors.Join(f.Truncate(0), f.Truncate(8*memory.Page), write("state", 2)(f))
		},
	} {
		file, sum := saved(t)
		f, err := os.OpenFile(file, os.O_RDWR, 0)
		if err = errors.Join(err, damage(f), f.Close()); err != nil {
			t.Fatal(err)
		}
		if _, err := memory.Load(t.Context(), file, sum); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("%s: %v, want %v", name, err, store.ErrCorrupt)
		}
	}
}

// What is there is never written over, and a save that fails leaves nothing.
func TestSaveMakesItsOwnFile(t *testing.T) {
	file, _ := saved(t)
	m, err := memory.New(memory.Page)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if _, err := m.WriteAt([]byte{1}, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := memory.Save(t.Context(), m, file); !errors.Is(err, os.ErrExist) {
		t.Errorf("save over another: %v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := memory.Save(gone, m, file+"2"); !errors.Is(err, context.Canceled) {
		t.Errorf("save given up: %v", err)
	}
	if _, err := os.Stat(file + "2"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it left a file: %v", err)
	}
}
