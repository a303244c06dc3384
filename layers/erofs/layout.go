package erofs

import (
	"math"
	"strings"

	"satchel/layers"
)

// maxSymlink is the longest target that Linux resolves, in bytes.
const maxSymlink = blockSize - 1

// A node is the place of one entry. Indexes are those of the tree; 0 is the
// root, which is nobody's child, so that it also says "none".
type node struct {
	off    int64  // of the inode in the image
	size   int64  // bytes of the file, directory or target
	start  uint32 // first block of the data
	nlink  uint32
	xattrs uint32 // bytes
	parent int32
	first  int32 // of a directory: first child; of a hard link: the first path
	last   int32 // of a directory: last child
	next   int32 // sibling
	inline bool  // the last part of the data follows the inode
	ext    bool  // extended inode
}

// nid is the number by which directories name an inode.
func (n *node) nid() uint64 { return uint64(n.off) / slotSize }

// headSize is the length of the inode and its extended attributes.
func (n *node) headSize() int64 {
	if n.ext {
		return extendedSize + int64(n.xattrs)
	}
	return compactSize + int64(n.xattrs)
}

// tail returns how many bytes of the data follow the inode.
func (n *node) tail() int64 {
	if n.inline {
		return n.size % blockSize
	}
	return 0
}

// blocks returns how many blocks the data occupies outside the inode.
func (n *node) blocks() int64 { return blocksOf(n.size - n.tail()) }

// A layout is a tree with a place for everything in it.
type layout struct {
	tree   layers.Tree
	build  layers.Time
	nodes  []node
	inodes uint64
	meta   int64 // blocks of the metadata area
	blocks int64 // of the image
}

// newLayout checks the tree and places it.
func newLayout(tree layers.Tree, build layers.Time) (*layout, error) {
	l := &layout{tree: tree, build: build, nodes: make([]node, len(tree))}
	if err := tree.Check(); err != nil {
		return nil, err
	}
	if len(tree) == 0 || tree[0].Path != "" {
		return nil, &layers.PathError{Path: "", Reason: "the tree has no root"}
	}
	if len(tree) > math.MaxInt32 {
		return nil, &layers.PathError{Path: "", Reason: "the tree has too many entries"}
	}
	if err := l.connect(); err != nil {
		return nil, err
	}
	for i := range tree {
		if err := l.measure(int32(i)); err != nil {
			return nil, err
		}
	}
	l.placeInodes()
	return l, l.placeData()
}

// connect finds the parent of every entry and counts links.
func (l *layout) connect() error {
	var parent int32 // of the entry before
	l.nodes[0].nlink = 2
	for i := int32(1); i < int32(len(l.tree)); i++ {
		e := &l.tree[i]
		for parent != 0 && !isParent(l.tree[parent].Path, e.Path) {
			parent = l.nodes[parent].parent
		}
		if !isParent(l.tree[parent].Path, e.Path) {
			return refuse(e, "has no parent directory in the tree")
		}
		n, dir := &l.nodes[i], &l.nodes[parent]
		n.parent = parent
		if dir.last == 0 {
			dir.first = i
		} else {
			l.nodes[dir.last].next = i
		}
		dir.last = i
		switch e.Type {
		case layers.Whiteout:
			return refuse(e, "is a whiteout, which an image cannot hold")
		case layers.Hardlink:
			first, _ := l.tree.Index(e.Target)
			n.first = int32(first)
			l.nodes[first].nlink++
		case layers.Dir:
			n.nlink += 2
			dir.nlink++
			parent = i
		default:
			n.nlink++
		}
	}
	return nil
}

// isParent reports whether path lies directly in dir.
func isParent(dir, path string) bool {
	if dir == "" {
		return strings.IndexByte(path, '/') < 0
	}
	return len(path) > len(dir) && path[len(dir)] == '/' && path[:len(dir)] == dir &&
		strings.IndexByte(path[len(dir)+1:], '/') < 0
}

// measure finds out how much room an entry needs, and whether the format can
// hold it at all.
func (l *layout) measure(i int32) error {
	e, n := &l.tree[i], &l.nodes[i]
	if e.Type == layers.Hardlink {
		return nil
	}
	l.inodes++
	xattrs, err := xattrsSize(e)
	if err != nil {
		return err
	}
	n.xattrs = uint32(xattrs)
	switch e.Type {
	case layers.Regular:
		n.size = e.Size
	case layers.Dir:
		n.size = l.dirSize(i)
	case layers.Symlink:
		n.size = int64(len(e.Target))
		if n.size == 0 || n.size > maxSymlink {
			return refuse(e, "symlink target of %d bytes, want 1 to %d", n.size, maxSymlink)
		}
	case layers.CharDev, layers.BlockDev:
		if e.Major > maxMajor || e.Minor > maxMinor {
			return refuse(e, "device %d:%d, want at most %d:%d", e.Major, e.Minor, maxMajor, maxMinor)
		}
	}
	if e.Mode > 0o7777 {
		return refuse(e, "mode %#o, want at most 07777", e.Mode)
	}
	if e.ModTime.Nsec >= 1e9 {
		return refuse(e, "time with %d nanoseconds", e.ModTime.Nsec)
	}
	n.ext = e.ModTime != l.build || e.UID > math.MaxUint16 || e.GID > math.MaxUint16 ||
		n.nlink > math.MaxUint16 || n.size > math.MaxUint32
	if e.Type == layers.Dir || e.Type == layers.Symlink {
		n.inline = n.headSize()+n.size%blockSize <= blockSize && n.size%blockSize != 0
	}
	return nil
}

// placeInodes gives every inode its slot, in the order of the tree, so that
// those of neighbouring files are read together.
func (l *layout) placeInodes() {
	pos := int64(superOffset + superSize)
	for i := range l.nodes {
		if l.tree[i].Type == layers.Hardlink {
			continue
		}
		n := &l.nodes[i]
		whole := n.headSize() - int64(n.xattrs) // what must not cross a block
		if n.inline {
			whole = n.headSize() + n.tail()
		}
		pos = alignUp(pos, slotSize)
		if pos%blockSize+whole > blockSize {
			pos = alignUp(pos, blockSize)
		}
		n.off = pos
		pos += n.headSize() + n.tail()
	}
	// fsck.erofs 1.5 reads the header of extended attributes even where there
	// are none, and must not come to the end of the image.
	l.meta = blocksOf(pos + xattrHeader)
}

// placeData gives blocks to directories and symlinks, which end the metadata
// area, and then to files.
func (l *layout) placeData() error {
	next := l.meta
	place := func(i int) error {
		n := &l.nodes[i]
		blocks := n.blocks()
		if blocks > maxBlocks-next {
			return refuse(&l.tree[i], "ends beyond the 16 TiB that an image can address")
		}
		if blocks > 0 {
			n.start = uint32(next)
		}
		next += blocks
		return nil
	}
	for i := range l.nodes {
		if t := l.tree[i].Type; t == layers.Dir || t == layers.Symlink {
			if err := place(i); err != nil {
				return err
			}
		}
	}
	l.meta = next
	for i := range l.nodes {
		if l.tree[i].Type == layers.Regular {
			if err := place(i); err != nil {
				return err
			}
		}
	}
	l.blocks = next
	return nil
}
