package delta

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"satchel/store"
)

func condition(t *testing.T, path string) Condition {
	t.Helper()
	st, err := State(path)
	must(t, err)
	return st.Condition
}

func TestStateOverALife(t *testing.T) {
	needRoot(t)
	path := filepath.Join(t.TempDir(), "delta.img")
	if c := condition(t, path); c != Absent {
		t.Errorf("before: %v", c)
	}
	must(t, Create(t.Context(), path, 64<<20))
	fresh, err := State(path)
	must(t, err)
	if fresh.Condition != Fresh {
		t.Errorf("created: %v", fresh.Condition)
	}
	dir, unmount := mount(t, path)
	must(t, os.WriteFile(filepath.Join(dir, "file"), make([]byte, 5<<20), 0o600))
	command(t, "sync", "-f", dir)
	if c := condition(t, path); c != Dirty {
		t.Errorf("mounted: %v", c)
	}
	unmount()
	st, err := State(path)
	must(t, err)
	if st.Condition != Clean || st.Used < fresh.Used+5<<20 || st.Used > fresh.Used+6<<20 {
		t.Errorf("unmounted: %+v, fresh was %+v", st, fresh)
	}
}

func TestStateOfDamage(t *testing.T) {
	whole, err := os.ReadFile(newDisk(t, MinSize))
	must(t, err)
	tests := []struct {
		name string
		data func(b []byte) []byte
	}{
		{"empty", func([]byte) []byte { return nil }},
		{"zeros", func(b []byte) []byte { clear(b); return b }},
		{"cut", func(b []byte) []byte { return b[:len(b)-1] }},
		{"bit flipped", func(b []byte) []byte { b[1024+0x50] ^= 4; return b }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "d")
			must(t, os.WriteFile(path, tt.data(append([]byte(nil), whole...)), 0o600))
			if _, err := State(path); !errors.Is(err, store.ErrCorrupt) {
				t.Errorf("error %v, want %v", err, store.ErrCorrupt)
			}
		})
	}
}
