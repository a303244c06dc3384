package erofs_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"satchel/layers"
	"satchel/layers/erofs"
	"satchel/store"
)

// whole reads an image in one go.
func whole(tb testing.TB, im *erofs.Image) []byte {
	tb.Helper()
	b := make([]byte, im.Size())
	if n, err := im.ReadAt(b, 0); err != nil || int64(n) != im.Size() {
		tb.Fatalf("read %d of %d bytes: %v", n, im.Size(), err)
	}
	return b
}

func TestReadsOfAnyPartAgree(t *testing.T) {
	c := chunks{}
	im := newImage(t, hostileTree(c), c)
	want := whole(t, im)
	rapid.Check(t, func(t *rapid.T) {
		off := rapid.Int64Range(0, im.Size()-1).Draw(t, "off")
		p := bytes.Repeat([]byte{0xee}, rapid.IntRange(0, 200_000).Draw(t, "len"))
		n, err := im.ReadAt(p, off)
		if int64(len(p)) > im.Size()-off != errors.Is(err, io.EOF) || err != nil && !errors.Is(err, io.EOF) {
			t.Fatalf("unexpected error %v", err)
		}
		if !bytes.Equal(p[:n], want[off:off+int64(n)]) || err == nil && n != len(p) {
			t.Fatal("bytes differ")
		}
	})
}

func TestRunsTileAndTellHoles(t *testing.T) {
	c := chunks{}
	im := newImage(t, hostileTree(c), c)
	image := whole(t, im)
	rapid.Check(t, func(t *rapid.T) {
		off := rapid.Int64Range(-10, im.Size()+10).Draw(t, "off")
		n := rapid.Int64Range(-1, im.Size()).Draw(t, "len")
		pos, end := max(off, 0), min(max(off, 0)+max(n, 0), im.Size())
		var last *erofs.Run
		for r := range im.Runs(off, n) {
			if r.Off != pos || r.Len <= 0 || last != nil && last.Hole == r.Hole {
				t.Fatalf("run %v after %v, want offset %d", r, last, pos)
			}
			pos += r.Len
			if r.Hole && len(bytes.Trim(image[r.Off:pos], "\x00")) > 0 {
				t.Fatalf("run %v is not a hole", r)
			}
			last = &r
		}
		if pos != end && end > max(off, 0) {
			t.Fatalf("runs end at %d, want %d", pos, end)
		}
	})
	var holes int64
	for r := range im.Runs(0, im.Size()) {
		if r.Hole {
			holes += r.Len
		}
	}
	// etc/hollow is 1 MiB, and etc/sparse has 1, 23 and 3 whole blocks of zeros.
	if want := int64(1<<20 + 27*4096); holes != want {
		t.Errorf("%d bytes in holes, want %d", holes, want)
	}
	for r := range im.Runs(0, im.Size()) {
		if r.Len > 0 {
			break // an early end must be heeded
		}
	}
}

func TestReadsOutsideTheImage(t *testing.T) {
	im := newImage(t, layers.Tree{newDir("")}, chunks{})
	p := make([]byte, 10)
	if n, err := im.ReadAt(p, im.Size()); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %d, %v", n, err)
	}
	if n, err := im.ReadAt(p, im.Size()-4); n != 4 || !errors.Is(err, io.EOF) {
		t.Errorf("across the end: %d, %v", n, err)
	}
	if _, err := im.ReadAt(p, -1); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("before the start: %v", err)
	}
	if n, err := im.ReadAt(nil, 0); n != 0 || err != nil {
		t.Errorf("nothing: %d, %v", n, err)
	}
}

func TestDamageIsReported(t *testing.T) {
	c := chunks{}
	tree := layers.Tree{newDir(""), c.file("a", noise(1, 5000)), c.file("b", noise(2, 6000)), c.file("c", noise(3, 100))}
	im := newImage(t, tree, c)
	c[tree[2].Extents[0].ID] = []byte("short")
	delete(c, tree[3].Extents[0].ID)
	p := make([]byte, 8192)
	start := im.Stats().Metadata
	if _, err := im.ReadAt(p, start); err != nil {
		t.Errorf("undamaged file: %v", err)
	}
	if n, err := im.ReadAt(p, start+4096); n != 4096 || !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("chunk of wrong length: %d, %v", n, err)
	}
	if _, err := im.ReadAt(p[:1], start+4*4096); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("missing chunk: %v", err)
	}
	if n, err := im.WriteTo(io.Discard); n != start+2*4096 || !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("whole image: %d, %v", n, err)
	}
}

func TestConcurrentReads(t *testing.T) {
	c := chunks{}
	im := newImage(t, hostileTree(c), c)
	want := whole(t, im)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			p := make([]byte, 10_000+i)
			for off := int64(i) * 999; off+int64(len(p)) < im.Size(); off += int64(len(p)) {
				if _, err := im.ReadAt(p, off); err != nil || !bytes.Equal(p, want[off:off+int64(len(p))]) {
					t.Errorf("at %d: %v", off, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestReadsDoNotAllocate(t *testing.T) {
	c := chunks{}
	im := newImage(t, hostileTree(c), c)
	p := make([]byte, 4096)
	off := int64(0)
	if n := testing.AllocsPerRun(200, func() {
		_, _ = im.ReadAt(p, off)
		off += 4096
	}); n > 0 {
		t.Errorf("%v allocations a read", n)
	}
}

// TestGolden holds the layout to what docs/format/erofs.md says of it. Set
// UPDATE_GOLDEN to write the file anew after a deliberate change.
func TestGolden(t *testing.T) {
	c := chunks{}
	e := c.file("file", []byte("contents\n"))
	e.Xattrs = []layers.Xattr{{Name: "user.a", Value: []byte("b")}}
	tree := layers.Tree{newDir(""), newDir("dir"), newSymlink("dir/link", "../file"), e,
		{Path: "hard", Type: layers.Hardlink, Target: "file"},
		{Path: "null", Type: layers.CharDev, Mode: 0o666, Major: 1, Minor: 3, ModTime: buildTime}}
	got := whole(t, newImage(t, tree, c))
	name := filepath.Join("testdata", "small.erofs")
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("the image of the same tree has changed")
	}
	fsck(t, "--extract", name)
	sameSeen(t, wanted(t, tree, c), mounted(t, name))
}
