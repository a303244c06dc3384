package layerstest

import (
	"strings"

	"pgregory.net/rapid"

	"satchel/layers"
	"satchel/store"
)

// names make paths that are often near each other in order and often share a
// beginning, with bytes on both sides of the slash.
var names = []string{"a", "b", "a-b", "a.b", "a0", "ab", "B", "\x01", "\xff\xfe", " ", "ä", strings.Repeat("n", 255)}

// Path draws a path, not the root, of one to four names.
func Path() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(rapid.SampledFrom(names), 1, 4).Draw(t, "names"), "/")
	})
}

// Entry draws an entry of any type but [layers.Hardlink], with the root's path.
// Its extents name chunks that no store holds.
func Entry() *rapid.Generator[layers.Entry] {
	types := []layers.Type{layers.Regular, layers.Regular, layers.Dir, layers.Dir, layers.Symlink,
		layers.CharDev, layers.BlockDev, layers.Fifo, layers.Whiteout}
	return rapid.Custom(func(t *rapid.T) layers.Entry {
		e := layers.Entry{Type: rapid.SampledFrom(types).Draw(t, "type")}
		if e.Type == layers.Whiteout {
			return e
		}
		e.Mode = rapid.Uint16Range(0, 0o7777).Draw(t, "mode")
		e.UID = rapid.Uint32().Draw(t, "uid")
		e.GID = rapid.Uint32().Draw(t, "gid")
		e.ModTime = layers.Time{Sec: rapid.Int64().Draw(t, "sec"), Nsec: rapid.Uint32Range(0, 999_999_999).Draw(t, "nsec")}
		e.Xattrs = xattrs(t)
		switch e.Type {
		case layers.Dir:
			e.Opaque = rapid.Bool().Draw(t, "opaque")
		case layers.Symlink:
			e.Target = rapid.StringMatching(`[^\x00]{1,20}`).Draw(t, "target")
		case layers.CharDev, layers.BlockDev:
			e.Major = rapid.Uint32().Draw(t, "major")
			e.Minor = rapid.Uint32().Draw(t, "minor")
		case layers.Regular:
			e.Extents, e.Size = extents(t)
		}
		return e
	})
}

func xattrs(t *rapid.T) (xs []layers.Xattr) {
	for _, name := range []string{"security.capability", "system.posix_acl_access", "trusted.x", "user.\xff"} {
		if rapid.IntRange(0, 5).Draw(t, "xattr") == 0 {
			xs = append(xs, layers.Xattr{Name: name, Value: append([]byte{}, rapid.SliceOfN(rapid.Byte(), 0, 30).Draw(t, "value")...)})
		}
	}
	return xs
}

// extents draws the extents of a file, now and then of a large one.
func extents(t *rapid.T) (xs []layers.Extent, size int64) {
	n := rapid.IntRange(0, 3).Draw(t, "extents")
	if rapid.IntRange(0, 9).Draw(t, "large") == 0 {
		n = rapid.IntRange(30, 3000).Draw(t, "many extents")
	}
	seed := rapid.Uint64().Draw(t, "seed")
	for i := range n {
		x := layers.Extent{ID: fakeID(seed, uint64(i)), Len: 1 + int64(seed>>1)%store.MaxChunk}
		if seed%7 == 0 && i%3 == 0 {
			x = layers.Extent{Len: 1 + int64(seed>>20)}
		}
		xs, size = append(xs, x), size+x.Len
	}
	return xs, size
}

// fakeID returns an ID that looks random, by the generator SplitMix64.
func fakeID(seed, n uint64) (id store.ID) {
	z := seed + n*0x9e3779b97f4a7c15
	for i := range id {
		z += 0x9e3779b97f4a7c15
		x := (z ^ z>>30) * 0xbf58476d1ce4e5b9
		id[i] = byte((x ^ x>>27) * 0x94d049bb133111eb >> 56)
	}
	id[0] |= 1 // never zero
	return id
}

// RandomTree draws a tree that passes [layers.Tree.Check], of up to most
// entries, with hard links and mostly with a root.
func RandomTree(most int) *rapid.Generator[layers.Tree] {
	return rapid.Custom(func(t *rapid.T) layers.Tree {
		all := rapid.MapOfN(Path(), Entry(), 0, most).Draw(t, "tree")
		tree := make(layers.Tree, 0, len(all)+1)
		if rapid.IntRange(0, 3).Draw(t, "root") > 0 {
			tree = append(tree, layers.Entry{Type: layers.Dir, Mode: 0o755})
		}
		for p, e := range all {
			e.Path = p
			tree = append(tree, e)
		}
		tree.Sort()
		link(t, tree)
		return tree
	})
}

// link turns some whiteouts into further names of files that come before them.
func link(t *rapid.T, tree layers.Tree) {
	first := ""
	for i := range tree {
		e := &tree[i]
		switch {
		case e.Type != layers.Whiteout && e.Type != layers.Dir:
			first = e.Path
		case e.Type == layers.Whiteout && first != "" && rapid.Bool().Draw(t, "hard link"):
			*e = layers.Entry{Path: e.Path, Type: layers.Hardlink, Target: first}
		}
	}
}

// Edit draws a tree that differs from t in a few places.
func Edit(from layers.Tree) *rapid.Generator[layers.Tree] {
	return rapid.Custom(func(t *rapid.T) layers.Tree {
		named := map[string]bool{} // what hard links need
		edited := map[string]layers.Entry{}
		for _, e := range from {
			edited[e.Path] = e
			if e.Type == layers.Hardlink {
				named[e.Target] = true
			}
		}
		for _, p := range rapid.SliceOfN(Path(), 0, 5).Draw(t, "paths") {
			switch {
			case named[p]:
			case rapid.Bool().Draw(t, "remove"):
				delete(edited, p)
			default:
				e := Entry().Draw(t, "entry")
				e.Path = p
				edited[p] = e
			}
		}
		to := make(layers.Tree, 0, len(edited))
		for _, e := range edited {
			to = append(to, e)
		}
		to.Sort()
		return to
	})
}
