package erofs_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"satchel/layers"
)

// drawTree makes a tree whose sizes are drawn so that inodes, attributes,
// directories and targets end before, at and behind the ends of blocks.
func drawTree(t *rapid.T, c chunks) layers.Tree {
	tree := layers.Tree{newDir("")}
	dirs := []string{""}
	var files []string
	for i := range rapid.IntRange(0, 40).Draw(t, "entries") {
		name := fmt.Sprintf("%c%d", 'a'+i%7, i)
		if pad := rapid.SampledFrom([]int{0, 0, 0, 20, 240, 255}).Draw(t, "name"); pad > len(name) {
			name += strings.Repeat("~", pad-len(name))
		}
		if parent := rapid.SampledFrom(dirs).Draw(t, "parent"); parent != "" {
			name = parent + "/" + name
		}
		e := drawEntry(t, c, name, files)
		switch e.Type {
		case layers.Dir:
			dirs = append(dirs, name)
		case layers.Hardlink:
		default:
			files = append(files, name)
		}
		tree = append(tree, e)
	}
	tree.Sort()
	return linkFirsts(tree)
}

func drawEntry(t *rapid.T, c chunks, path string, files []string) layers.Entry {
	e := layers.Entry{Path: path}
	switch rapid.IntRange(0, 9).Draw(t, "type") {
	case 0, 1, 2:
		e = c.file(path, drawPieces(t)...)
	case 3, 4, 5:
		e.Type = layers.Dir
	case 6:
		e = newSymlink(path, strings.Repeat("t", rapid.OneOf(rapid.IntRange(1, 100), rapid.IntRange(3900, 4095)).Draw(t, "target")))
	case 7:
		e.Type, e.Major, e.Minor = layers.CharDev, rapid.Uint32Range(0, 4095).Draw(t, "major"), rapid.Uint32Range(1, 1<<20-1).Draw(t, "minor")
	case 8:
		e.Type = layers.Fifo
	case 9:
		if len(files) > 0 {
			return layers.Entry{Path: path, Type: layers.Hardlink, Target: rapid.SampledFrom(files).Draw(t, "first")}
		}
		e.Type = layers.Dir
	}
	e.UID = rapid.SampledFrom([]uint32{0, 65535, 65536, 1<<32 - 2}).Draw(t, "uid")
	e.ModTime = rapid.SampledFrom([]layers.Time{buildTime, {Sec: -1, Nsec: 7}, {Sec: 1 << 33, Nsec: 999_999_999}}).Draw(t, "time")
	if e.Type != layers.Symlink {
		e.Mode = rapid.Uint16Range(0, 0o7777).Draw(t, "mode")
	}
	for i := range rapid.SampledFrom([]int{0, 0, 0, 1, 3}).Draw(t, "xattrs") {
		size := rapid.OneOf(rapid.IntRange(0, 40), rapid.IntRange(3800, 4200)).Draw(t, "value")
		e.Xattrs = append(e.Xattrs, layers.Xattr{Name: fmt.Sprintf("trusted.%d", i), Value: noise(uint64(size), size)})
	}
	return e
}

func drawPieces(t *rapid.T) (pieces [][]byte) {
	for range rapid.IntRange(0, 4).Draw(t, "pieces") {
		n := rapid.SampledFrom([]int{1, 100, 4095, 4096, 4097, 20_000}).Draw(t, "piece")
		if rapid.IntRange(0, 2).Draw(t, "hole") == 0 {
			pieces = append(pieces, make([]byte, n))
		} else {
			pieces = append(pieces, noise(rapid.Uint64Range(0, 99).Draw(t, "seed"), n))
		}
	}
	return pieces
}

func TestRandomTreesReachEveryReader(t *testing.T) {
	name := filepath.Join(t.TempDir(), "image")
	root := os.Getuid() == 0
	rapid.Check(t, func(rt *rapid.T) {
		c := chunks{}
		tree := drawTree(rt, c)
		im := newImage(t, tree, c)
		if err := os.WriteFile(name, whole(t, im), 0o644); err != nil {
			rt.Fatal(err)
		}
		fsck(t, "--extract", name)
		want := wanted(t, tree, c)
		if root {
			sameSeen(t, want, mounted(t, name))
		}
		sameSeen(t, forSecondReader(want), forSecondReader(secondReader(t, im)))
		if t.Failed() {
			rt.Fatal("an image that is not as its tree")
		}
	})
}
