package ext4

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Root is the inode number of the root directory.
const Root = 2

// An FS reads one file system. Its methods may be called from several
// goroutines at once.
type FS struct {
	*Superblock
	r      io.ReaderAt
	tables []uint64 // first block of each group's inode table
}

// Open reads the superblock and the group descriptors of the file system at
// the beginning of r. It fails with [ErrDirty], [ErrUnsupported] or
// [store.ErrCorrupt].
func Open(r io.ReaderAt) (*FS, error) {
	s, err := ReadSuperblock(r)
	if err != nil {
		return nil, err
	}
	if err := s.Supported(); err != nil {
		return nil, err
	}
	if !s.Clean() {
		return nil, ErrDirty
	}
	f := &FS{Superblock: s, r: r}
	return f, f.readGroups()
}

// readGroups finds the inode tables. It reads the descriptors block by block,
// so that a false count of groups fails at the end of the disk before it costs
// memory.
func (f *FS) readGroups() error {
	perBlock := uint64(f.BlockSize / f.descSize)
	b := make([]byte, f.BlockSize)
	for g := range f.groups() {
		if g%perBlock == 0 {
			if err := f.readBlock(b, uint64(f.firstDataBlock)+1+g/perBlock); err != nil {
				return fmt.Errorf("group descriptors: %w", err)
			}
		}
		d := b[int64(g%perBlock)*f.descSize:][:f.descSize]
		table, err := f.inodeTable(uint32(g), d)
		if err != nil {
			return err
		}
		f.tables = append(f.tables, table)
	}
	return nil
}

// inodeTable parses a group descriptor.
func (f *FS) inodeTable(group uint32, d []byte) (uint64, error) {
	le := binary.LittleEndian
	if f.checksummed() {
		sum := checksum32(f.seed, group)
		sum = checksum(sum, d[:0x1E])
		sum = checksum(sum, []byte{0, 0})
		sum = checksum(sum, d[0x20:])
		if uint16(sum) != le.Uint16(d[0x1E:]) {
			return 0, corrupt("group %d does not match its checksum", group)
		}
	}
	table := uint64(le.Uint32(d[0x8:]))
	if f.descSize >= 64 {
		table |= uint64(le.Uint32(d[0x28:])) << 32
	}
	size := (uint64(f.inodesPerGroup)*uint64(f.inodeSize) + uint64(f.BlockSize) - 1) / uint64(f.BlockSize)
	if table >= f.Blocks || size > f.Blocks-table {
		return 0, corrupt("group %d has its inodes at block %d of %d", group, table, f.Blocks)
	}
	return table, nil
}

// readBlock reads one block of the file system into b.
func (f *FS) readBlock(b []byte, block uint64) error {
	if block >= f.Blocks {
		return corrupt("block %d of %d", block, f.Blocks)
	}
	return f.readAt(b, int64(block)*f.BlockSize)
}

// readAt fills b. A disk that ends too early is damage.
func (f *FS) readAt(b []byte, off int64) error {
	n, err := f.r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || err == io.EOF {
		return corrupt("disk ends at byte %d", off+int64(n))
	}
	return fmt.Errorf("read %d bytes at %d: %w", len(b), off, err)
}
