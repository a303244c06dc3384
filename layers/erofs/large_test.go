package erofs_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"satchel/layers"
)

// TestHugeDirectory has the kernel list and look up 100,000 names.
func TestHugeDirectory(t *testing.T) {
	tree := layers.Tree{newDir(""), newDir("d")}
	for i := range 100_000 {
		tree = append(tree, layers.Entry{Path: fmt.Sprintf("d/%06d-%s", i, strings.Repeat("x", i%40)), Type: layers.Fifo, ModTime: layers.Time{Sec: int64(i)}})
	}
	name := writeImage(t, newImage(t, tree, chunks{}))
	fsck(t, name)
	sameSeen(t, wanted(t, tree, chunks{}), mounted(t, name))
}

// TestFileBeyond4GiB reads the end of a large sparse file through the kernel.
// The image is written sparse, by what Runs tells.
func TestFileBeyond4GiB(t *testing.T) {
	c := chunks{}
	end := noise(1, 5000)
	e := c.file("f", end)
	hole := layers.Extent{Len: 5<<30 + 123}
	e.Extents = append([]layers.Extent{hole}, e.Extents...)
	e.Size += hole.Len
	im := newImage(t, layers.Tree{newDir(""), e, c.file("g", end)}, c)

	f, err := os.CreateTemp(t.TempDir(), "*.erofs")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if err := f.Truncate(im.Size()); err != nil {
		t.Fatal(err)
	}
	for r := range im.Runs(0, im.Size()) {
		if r.Hole {
			continue
		}
		p := make([]byte, r.Len)
		if _, err := im.ReadAt(p, r.Off); err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt(p, r.Off); err != nil {
			t.Fatal(err)
		}
	}
	fsck(t, f.Name())
	if os.Getuid() != 0 {
		t.Skip("mounting an image needs root")
	}
	mount(t, f.Name(), func(at string) {
		g, err := os.Open(at + "/f")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = g.Close() }()
		var st unix.Stat_t
		if err := unix.Fstat(int(g.Fd()), &st); err != nil || st.Size != e.Size {
			t.Errorf("size %d, want %d: %v", st.Size, e.Size, err)
		}
		p := make([]byte, len(end)+10)
		if n, _ := g.ReadAt(p, hole.Len-10); string(p[:n]) != strings.Repeat("\x00", 10)+string(end) {
			t.Errorf("the last %d bytes differ", n)
		}
	})
}
