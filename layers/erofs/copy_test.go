package erofs_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"satchel/layers"
	"satchel/store"
)

func TestCopyIsTheImageWithItsHoles(t *testing.T) {
	c := chunks{}
	tree := hostileTree(c)
	const hole = 64 << 20
	tree = append(tree, layers.Entry{Path: "zz-hole", Type: layers.Regular, Mode: 0o600, Size: hole,
		Extents: []layers.Extent{{Len: hole}}})
	tree.Sort()
	im := newImage(t, tree, c)
	f, err := os.Create(filepath.Join(t.TempDir(), "image"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(im.Size()); err != nil {
		t.Fatal(err)
	}
	var last int64
	err = im.CopyTo(t.Context(), f, func(done int64) {
		if done <= last {
			t.Errorf("progress goes from %d to %d", last, done)
		}
		last = done
	})
	if err != nil || last != im.Size() {
		t.Fatalf("copied %d of %d bytes: %v", last, im.Size(), err)
	}
	got, err := os.ReadFile(f.Name())
	if err != nil || !bytes.Equal(got, whole(t, im)) {
		t.Errorf("the copy is not the image: %v", err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if took := info.Sys().(*syscall.Stat_t).Blocks * 512; took > im.Size()-hole/2 {
		t.Errorf("an image of %d bytes with a hole of %d takes %d on disk", im.Size(), hole, took)
	}
}

func TestCopyFails(t *testing.T) {
	c := chunks{}
	tree := layers.Tree{{Type: layers.Dir, Mode: 0o755}, c.file("a", bytes.Repeat([]byte("x"), 5<<20))}
	im := newImage(t, tree, c)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := im.CopyTo(ctx, nowhere{}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if err := im.CopyTo(t.Context(), nowhere{}, nil); !errors.Is(err, os.ErrClosed) {
		t.Errorf("nowhere to write: %v", err)
	}
	clear(c)
	if err := im.CopyTo(t.Context(), nowhere{}, nil); !errors.Is(err, store.ErrNotExist) && !errors.Is(err, os.ErrClosed) {
		t.Errorf("nothing to read: %v", err)
	}
}

// nowhere takes nothing.
type nowhere struct{}

func (nowhere) WriteAt([]byte, int64) (int, error) { return 0, os.ErrClosed }
