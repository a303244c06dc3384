package erofs_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"satchel/layers"
	"satchel/layers/erofs"
)

func TestRefusesWhatItCannotHold(t *testing.T) {
	entry := func(e layers.Entry) layers.Tree { return layers.Tree{newDir(""), e} }
	xattr := func(name string, size int) layers.Tree {
		e := newDir("d")
		e.Xattrs = []layers.Xattr{{Name: name, Value: make([]byte, size)}}
		return entry(e)
	}
	many := newDir("d")
	for i := range 5 {
		many.Xattrs = append(many.Xattrs, layers.Xattr{Name: fmt.Sprintf("user.%d", i), Value: make([]byte, 65000)})
	}
	hole := func(path string, size int64) layers.Entry {
		return layers.Entry{Path: path, Type: layers.Regular, Size: size, Extents: []layers.Extent{{Len: size}}}
	}
	tests := []struct {
		name   string
		tree   layers.Tree
		path   string
		reason string
	}{
		{"no root", layers.Tree{}, "", "no root"},
		{"no root but a file", layers.Tree{hole("f", 1)}, "", "no root"},
		{"no parent", entry(newDir("a/b")), "a/b", "no parent directory"},
		{"file as parent", layers.Tree{newDir(""), hole("a", 1), newDir("a/b")}, "a/b", "no parent directory"},
		{"out of order", layers.Tree{newDir(""), newDir("b"), newDir("a")}, "a", "out of order"},
		{"whiteout", entry(layers.Entry{Path: "w", Type: layers.Whiteout}), "w", "whiteout"},
		{"empty target", entry(newSymlink("s", "")), "s", "target of 0 bytes"},
		{"long target", entry(newSymlink("s", strings.Repeat("x", 4096))), "s", "target of 4096 bytes"},
		{"major", entry(layers.Entry{Path: "d", Type: layers.CharDev, Major: 4096}), "d", "device 4096:0"},
		{"minor", entry(layers.Entry{Path: "d", Type: layers.BlockDev, Minor: 1 << 20}), "d", "device 0:1048576"},
		{"mode", entry(layers.Entry{Path: "d", Type: layers.Dir, Mode: 0o10000}), "d", "mode"},
		{"time", entry(layers.Entry{Path: "d", Type: layers.Dir, ModTime: layers.Time{Nsec: 1e9}}), "d", "nanoseconds"},
		{"namespace", xattr("system.nfs4_acl", 1), "d", "namespace"},
		{"no namespace", xattr("name", 1), "d", "namespace"},
		{"nothing after prefix", xattr("user.", 1), "d", "namespace"},
		{"something after ACL", xattr("system.posix_acl_access2", 1), "d", "namespace"},
		{"xattr name", xattr("user."+strings.Repeat("n", 256), 1), "d", "name of 256 bytes"},
		{"xattr value", xattr("user.v", 65536), "d", "65536 bytes"},
		{"all xattrs", entry(many), "d", "more than"},
		{"one file too large", entry(hole("f", 16<<40)), "f", "16 TiB"},
		{"largest file there is", entry(hole("f", 1<<63-1)), "f", "16 TiB"},
		{"files too large together", layers.Tree{newDir(""), hole("f", 15<<40), hole("g", 1<<40)}, "g", "16 TiB"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := erofs.New(test.tree, chunks{}, erofs.Options{})
			var at *layers.PathError
			if !errors.As(err, &at) {
				t.Fatalf("got %v, want a PathError", err)
			}
			if at.Path != test.path || !strings.Contains(at.Reason, test.reason) {
				t.Errorf("got %v, want path %q and a reason with %q", err, test.path, test.reason)
			}
		})
	}
}

func TestRefusesOptions(t *testing.T) {
	for name, opt := range map[string]erofs.Options{
		"volume name": {VolumeName: "sixteen bytes ok"},
		"build time":  {BuildTime: layers.Time{Nsec: 1e9}},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := erofs.New(layers.Tree{newDir("")}, chunks{}, opt); err == nil {
				t.Error("want an error")
			}
		})
	}
}

// TestInodeAtTheEndOfABlock has fsck.erofs check images whose last inode ends
// at, or just before, the end of the last block.
func TestInodeAtTheEndOfABlock(t *testing.T) {
	for n := 30; n < 42; n++ { // 36 ends at a block
		tree := layers.Tree{newDir("")}
		for i := range n {
			tree = append(tree, layers.Entry{Path: fmt.Sprintf("p%02d", i), Type: layers.Fifo})
		}
		fsck(t, writeImage(t, newImage(t, tree, chunks{})))
	}
}

func TestLargestImage(t *testing.T) {
	size := int64(16<<40) - 3<<12 // all that two other blocks and "none" leave
	f := layers.Entry{Path: "f", Type: layers.Regular, Size: size, Extents: []layers.Extent{{Len: size}}}
	im := newImage(t, layers.Tree{newDir(""), f}, chunks{})
	end := make([]byte, 10)
	if _, err := im.ReadAt(end, im.Size()-10); err != nil {
		t.Error(err)
	}
	var runs []erofs.Run
	for r := range im.Runs(0, im.Size()) {
		runs = append(runs, r)
	}
	if len(runs) != 2 || runs[0].Hole || !runs[1].Hole || runs[1].Len != size {
		t.Errorf("runs are %v", runs)
	}
}
