package ext4

import (
	"encoding/binary"
	"slices"
)

// A run is a stretch of a file's blocks in one piece on the disk.
type run struct {
	at    uint64 // first block in the file
	disk  uint64 // first block on the disk
	count uint64 // blocks, more than 0
}

// A mapping collects the runs of a file, in order.
type mapping struct {
	fs    *FS
	inode *Inode
	runs  []run
	next  uint64 // first block in the file that a further run may have
	nodes uint64 // blocks of the tree that were read
}

// add appends a run, or with disk 0 a hole. The order that it enforces is what
// keeps a tree with a loop from being walked forever.
func (m *mapping) add(r run) error {
	switch {
	case r.count == 0 || r.at < m.next || r.at+r.count > 1<<32:
		return corrupt("inode %d has blocks out of order at %d", m.inode.Number, r.at)
	case r.disk > m.fs.Blocks || r.count > m.fs.Blocks-r.disk:
		return corrupt("inode %d has %d blocks at %d of %d", m.inode.Number, r.count, r.disk, m.fs.Blocks)
	}
	m.next = r.at + r.count
	if r.disk == 0 {
		return nil
	}
	if n := len(m.runs); n > 0 {
		last := &m.runs[n-1]
		if last.at+last.count == r.at && last.disk+last.count == r.disk {
			last.count += r.count
			return nil
		}
	}
	m.runs = append(m.runs, r)
	return nil
}

// node reads a block of the tree.
func (m *mapping) node(block uint64) ([]byte, error) {
	if m.nodes++; m.nodes > m.fs.Blocks {
		return nil, corrupt("inode %d has more tree than the disk has blocks", m.inode.Number)
	}
	b := make([]byte, m.fs.BlockSize)
	return b, m.fs.readBlock(b, block)
}

// runs returns where the contents of an inode lie.
func (f *FS) runs(i *Inode) ([]run, error) {
	m := &mapping{fs: f, inode: i}
	var err error
	if i.flags&flagExtents != 0 {
		err = m.extents(i.block[:], -1)
	} else {
		err = m.blockMap()
	}
	return m.runs, err
}

const (
	extentMagic    = 0xF30A
	extentSize     = 12      // bytes, of a header and of each entry
	maxDepth       = 5       // of an extent tree
	maxInitialised = 1 << 15 // blocks in an extent; larger counts mean "allocated, never written"
)

// extents walks one node of an extent tree, which must have the given depth;
// the root, of depth -1, may have any.
func (m *mapping) extents(b []byte, depth int) error {
	le := binary.LittleEndian
	entries, capacity := int(le.Uint16(b[2:])), int(le.Uint16(b[4:]))
	level := int(le.Uint16(b[6:]))
	if le.Uint16(b) != extentMagic || level > maxDepth || depth >= 0 && level != depth ||
		entries > capacity || (capacity+1)*extentSize > len(b) || entries == 0 && depth >= 0 {
		return corrupt("inode %d has a bad node in its extent tree", m.inode.Number)
	}
	if depth >= 0 && m.fs.checksummed() {
		end := (capacity + 1) * extentSize
		if end+4 > len(b) || checksum(m.inode.seed, b[:end]) != le.Uint32(b[end:]) {
			return corrupt("inode %d has an extent tree that does not match its checksum", m.inode.Number)
		}
	}
	for e := range slices.Chunk(b[extentSize:(entries+1)*extentSize], extentSize) {
		var err error
		if level == 0 {
			err = m.leaf(e)
		} else {
			err = m.branch(e, level-1)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// leaf adds one extent.
func (m *mapping) leaf(e []byte) error {
	le := binary.LittleEndian
	r := run{
		at:    uint64(le.Uint32(e)),
		count: uint64(le.Uint16(e[4:])),
		disk:  uint64(le.Uint16(e[6:]))<<32 | uint64(le.Uint32(e[8:])),
	}
	if r.count > maxInitialised {
		r.count, r.disk = r.count-maxInitialised, 0
	}
	return m.add(r)
}

// branch walks the node below one index entry.
func (m *mapping) branch(e []byte, depth int) error {
	le := binary.LittleEndian
	b, err := m.node(uint64(le.Uint32(e[4:])) | uint64(le.Uint16(e[8:]))<<32)
	if err != nil {
		return err
	}
	return m.extents(b, depth)
}

// blockMap walks the older form, which a file has after "chattr -e": twelve
// blocks, then trees of one, two and three levels.
func (m *mapping) blockMap() error {
	le := binary.LittleEndian
	at := uint64(0)
	limit := uint64(m.inode.Size+m.fs.BlockSize-1) / uint64(m.fs.BlockSize)
	for n := range 15 {
		span := m.span(max(0, n-11))
		if at >= limit {
			break
		}
		if err := m.pointer(at, uint64(le.Uint32(m.inode.block[4*n:])), max(0, n-11), limit); err != nil {
			return err
		}
		at += span
	}
	return nil
}

// span is how many blocks of the file a pointer of that level covers.
func (m *mapping) span(level int) uint64 {
	span := uint64(1)
	for range level {
		span *= uint64(m.fs.BlockSize / 4)
	}
	return span
}

// pointer follows one pointer of a block map to the blocks of the file from at
// on, as far as limit.
func (m *mapping) pointer(at, block uint64, level int, limit uint64) error {
	if block == 0 {
		return nil
	}
	if level == 0 {
		return m.add(run{at: at, disk: block, count: 1})
	}
	b, err := m.node(block)
	if err != nil {
		return err
	}
	span := m.span(level - 1)
	for p := range slices.Chunk(b, 4) {
		if at >= limit {
			break
		}
		if err := m.pointer(at, uint64(binary.LittleEndian.Uint32(p)), level-1, limit); err != nil {
			return err
		}
		at += span
	}
	return nil
}
