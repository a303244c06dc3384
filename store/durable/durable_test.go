package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestWriteFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	for _, want := range []string{"first", "second, longer", ""} {
		if err := (FS{}).WriteFile(name, []byte(want)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(name); err != nil || string(got) != want {
			t.Errorf("read %q, %v: want %q", got, err, want)
		}
	}
}

// TestWriteFileOldOrNew fails each step, before and after it happens.
func TestWriteFileOldOrNew(t *testing.T) {
	broken := errors.New("broken")
	for _, persist := range []bool{false, true} {
		for n, failed := 0, true; failed; n++ {
			dir := t.TempDir()
			name := filepath.Join(dir, "file")
			if err := os.WriteFile(name, []byte("old"), 0o600); err != nil {
				t.Fatal(err)
			}
			var steps []string
			f := FS{Fault: func(s Step) (error, bool) {
				steps = append(steps, s.Op)
				if len(steps) == n+1 {
					return broken, persist
				}
				return nil, false
			}}
			err := f.WriteFile(name, []byte("new"))
			failed = errors.Is(err, broken)
			if !failed && err != nil {
				t.Fatal(err)
			}
			got, readErr := os.ReadFile(name)
			if readErr != nil || string(got) != "new" && (string(got) != "old" || err == nil) {
				t.Errorf("step %d, happens %v: %q, %v", n, persist, got, readErr)
			}
			if files, _ := os.ReadDir(dir); len(files) != 1 {
				t.Errorf("step %d, happens %v: left %v", n, persist, files)
			}
			if !failed && !slices.Equal(steps, []string{"write", "sync", "rename", "syncdir"}) {
				t.Errorf("steps %v", steps)
			}
		}
	}
}

func TestMkdirMakesParents(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b", "c")
	for range 2 {
		if err := (FS{}).Mkdir(dir); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("made %v, %v", info, err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := (FS{}).Mkdir(filepath.Join(file, "below")); err == nil {
		t.Error("made a directory below a file")
	}
}

func TestRemove(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := (FS{}).Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}
}
