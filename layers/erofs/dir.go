package erofs

import (
	"satchel/layers"
)

// list calls visit with what directory d lists, in the order of bytes that
// lookups rely on: its children, which the tree has in that order, with "." and
// ".." in their places among them. The number is the index of the entry.
func (l *layout) list(d int32, visit func(name string, entry int32)) {
	child := l.nodes[d].first
	before := func(dots string) {
		for ; child != 0 && base(l.tree[child].Path) < dots; child = l.nodes[child].next {
			visit(base(l.tree[child].Path), child)
		}
	}
	before(".")
	visit(".", d)
	before("..")
	visit("..", l.nodes[d].parent)
	for ; child != 0; child = l.nodes[child].next {
		visit(base(l.tree[child].Path), child)
	}
}

// dirSize returns the bytes of directory d: full blocks, then as much as the
// last one needs.
func (l *layout) dirSize(d int32) int64 {
	var full, used int64
	l.list(d, func(name string, _ int32) {
		need := int64(direntSize + len(name))
		if used+need > blockSize {
			full++
			used = 0
		}
		used += need
	})
	return full*blockSize + used
}

// putDir writes directory d to b, which is zero and as long as dirSize says.
// Each block begins with its fixed-size records; their names follow.
func (l *layout) putDir(b []byte, d int32) {
	type record struct {
		name  string
		entry int32
	}
	block := make([]record, 0, blockSize/(direntSize+1))
	used := 0
	flush := func() {
		nameOff := direntSize * len(block)
		for i, r := range block {
			file := l.file(r.entry)
			rec := b[i*direntSize:]
			le.PutUint64(rec, l.nodes[file].nid())
			le.PutUint16(rec[8:], uint16(nameOff))
			rec[10] = kinds[l.tree[file].Type].dirent
			nameOff += copy(b[nameOff:], r.name)
		}
		b = b[min(blockSize, len(b)):]
		block, used = block[:0], 0
	}
	l.list(d, func(name string, entry int32) {
		need := direntSize + len(name)
		if used+need > blockSize {
			flush()
		}
		block = append(block, record{name, entry})
		used += need
	})
	flush()
}

// file returns the entry that has the inode of entry i: the first path of a
// hard link, or i itself.
func (l *layout) file(i int32) int32 {
	if l.tree[i].Type == layers.Hardlink {
		return l.nodes[i].first
	}
	return i
}

// base returns the last name of a path.
func base(path string) string {
	_, name := layers.SplitPath(path)
	return name
}
