package delta

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"satchel/store"
)

func TestCreate(t *testing.T) {
	for _, size := range []int64{MinSize, 300<<20 + 12345, 64 << 30} {
		path := newDisk(t, size)
		st, err := State(path)
		must(t, err)
		if st.Condition != Fresh || st.Size > size || st.Size < size-4096 {
			t.Errorf("size %d: status %+v", size, st)
		}
		if st.Allocated > 8<<20 {
			t.Errorf("size %d: a fresh disk takes %d bytes", size, st.Allocated)
		}
		command(t, "/usr/sbin/e2fsck", "-fn", path)
	}
}

// A guest zeroes in the background what is not known to be zero, which would
// cost time and make the file grow.
func TestCreateLeavesNothingToZero(t *testing.T) {
	out := command(t, "/usr/sbin/dumpe2fs", newDisk(t, 1<<30))
	groups, zeroed := strings.Count(out, ": (Blocks "), strings.Count(out, "ITABLE_ZEROED")
	if groups == 0 || groups != zeroed {
		t.Errorf("%d of %d groups are known to be zero", zeroed, groups)
	}
	if !strings.Contains(out, Label) || !strings.Contains(out, "has_journal") {
		t.Errorf("no label or no journal:\n%.2000s", out)
	}
}

func TestCreateRefuses(t *testing.T) {
	dir := t.TempDir()
	taken := filepath.Join(dir, "taken")
	must(t, os.WriteFile(taken, []byte("work"), 0o600))
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	tests := []struct {
		name string
		ctx  context.Context
		path string
		size int64
		want error // nil: any
	}{
		{"too small", t.Context(), filepath.Join(dir, "a"), MinSize - 1, nil},
		{"too large", t.Context(), filepath.Join(dir, "b"), MaxSize + 1, nil},
		{"taken", t.Context(), taken, MinSize, store.ErrExist},
		{"no directory", t.Context(), filepath.Join(dir, "no", "c"), MinSize, os.ErrNotExist},
		{"cancelled", gone, filepath.Join(dir, "d"), MinSize, context.Canceled},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := Create(tt.ctx, tt.path, tt.size)
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
		})
	}
	names, err := os.ReadDir(dir)
	must(t, err)
	if len(names) != 1 {
		t.Errorf("left behind: %v", names)
	}
}

func TestCreateWithoutTools(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	old := sbin
	sbin = nil
	defer func() { sbin = old }()
	err := Create(t.Context(), filepath.Join(t.TempDir(), "d"), MinSize)
	if !errors.Is(err, exec.ErrNotFound) || !strings.Contains(err.Error(), "e2fsprogs") {
		t.Errorf("error %v does not name the package", err)
	}
}

func TestCreateFindsToolsOutsidePath(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	must(t, Create(t.Context(), filepath.Join(t.TempDir(), "d"), MinSize))
}
