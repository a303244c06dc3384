package erofs

import "satchel/layers"

// encode returns the metadata area.
func (l *layout) encode(opt Options) []byte {
	meta := make([]byte, l.meta*blockSize)
	for i := range l.nodes {
		if l.tree[i].Type != layers.Hardlink {
			l.putNode(meta, int32(i))
		}
	}
	sb := superblock{
		rootNid: uint16(l.nodes[0].nid()),
		inodes:  l.inodes,
		build:   opt.BuildTime,
		blocks:  uint32(l.blocks),
		uuid:    opt.UUID,
		volume:  opt.VolumeName,
	}
	sb.put(meta[:blockSize])
	return meta
}

// putNode writes one inode and what belongs to it in the metadata area.
func (l *layout) putNode(meta []byte, i int32) {
	e, n := &l.tree[i], &l.nodes[i]
	ino := inode{
		extended: n.ext,
		layout:   layoutPlain,
		xattrs:   int(n.xattrs),
		mode:     kinds[e.Type].mode | e.Mode,
		size:     uint64(n.size),
		union:    n.start,
		serial:   uint32(i) + 1,
		uid:      e.UID,
		gid:      e.GID,
		mtime:    e.ModTime,
		nlink:    n.nlink,
	}
	if n.inline {
		ino.layout = layoutInline
	}
	if e.Type == layers.CharDev || e.Type == layers.BlockDev {
		ino.union = encodeDevice(e.Major, e.Minor)
	}
	b := meta[n.off:]
	b = b[ino.put(b):]
	if n.xattrs > 0 {
		putXattrs(b, e.Xattrs)
		b = b[n.xattrs:]
	}
	if body := l.body(i); len(body) > 0 {
		out := n.size - n.tail()
		copy(meta[int64(n.start)*blockSize:], body[:out])
		copy(b, body[out:])
	}
}

// body returns the data of an entry that belongs to the metadata.
func (l *layout) body(i int32) []byte {
	switch e := &l.tree[i]; e.Type {
	case layers.Symlink:
		return []byte(e.Target)
	case layers.Dir:
		b := make([]byte, l.nodes[i].size)
		l.putDir(b, i)
		return b
	default:
		return nil
	}
}
