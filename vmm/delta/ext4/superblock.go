package ext4

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"
)

// Place and size of the superblock on the disk, in bytes.
const (
	superblockAt   = 1024
	superblockSize = 1024
)

const (
	magic = 0xEF53

	stateValid  = 1
	stateErrors = 2

	roMetadataCsum   = 0x400
	roOrphanPresent  = 0x10000
	incompatRecover  = 0x4
	incompat64bit    = 0x80
	incompatCsumSeed = 0x2000
)

// readable lists the incompatible features that this package reads, by bit.
const readable = 0x2 | // filetype
	0x40 | // extents
	incompat64bit |
	0x200 | // flex_bg
	incompatCsumSeed |
	0x4000 // largedir

// incompatNames names the other incompatible features, for errors.
var incompatNames = map[uint32]string{
	0x1: "compression", 0x8: "journal_dev", 0x10: "meta_bg", 0x100: "mmp",
	0x400: "ea_inode", 0x1000: "dirdata", 0x8000: "inline_data", 0x10000: "encrypt", 0x20000: "casefold",
}

// A Superblock holds the facts of a file system that concern its reader.
type Superblock struct {
	BlockSize  int64
	Blocks     uint64 // size of the file system, in blocks
	FreeBlocks uint64 // as of the last time the kernel wrote it down
	Inodes     uint32
	FreeInodes uint32
	Mounted    bool   // it has been mounted for writing at least once
	Label      string // at most 16 bytes

	firstDataBlock uint32
	blocksPerGroup uint32
	inodesPerGroup uint32
	inodeSize      int64
	descSize       int64
	state          uint16
	incompat       uint32
	roCompat       uint32
	seed           uint32 // of all metadata checksums
}

// ReadSuperblock reads the superblock of the file system that starts at the
// beginning of r. It fails with [store.ErrCorrupt] when there is none.
func ReadSuperblock(r io.ReaderAt) (*Superblock, error) {
	b := make([]byte, superblockSize)
	if n, err := r.ReadAt(b, superblockAt); n < len(b) {
		if err == io.EOF {
			return nil, corrupt("ext4 superblock cut short")
		}
		return nil, fmt.Errorf("read ext4 superblock: %w", err)
	}
	return ParseSuperblock(b)
}

// ParseSuperblock parses the 1024 bytes of a superblock.
func ParseSuperblock(b []byte) (*Superblock, error) {
	if len(b) < superblockSize {
		return nil, corrupt("ext4 superblock of %d bytes", len(b))
	}
	le := binary.LittleEndian
	if got := le.Uint16(b[0x38:]); got != magic {
		return nil, corrupt("ext4 superblock has magic %#04x, not %#04x", got, magic)
	}
	s := &Superblock{
		Blocks:         uint64(le.Uint32(b[0x4:])),
		FreeBlocks:     uint64(le.Uint32(b[0xC:])),
		Inodes:         le.Uint32(b[0x0:]),
		FreeInodes:     le.Uint32(b[0x10:]),
		Mounted:        le.Uint16(b[0x34:]) != 0 || le.Uint32(b[0x2C:]) != 0,
		Label:          strings.TrimRight(string(b[0x78:0x88]), "\x00"),
		firstDataBlock: le.Uint32(b[0x14:]),
		blocksPerGroup: le.Uint32(b[0x20:]),
		inodesPerGroup: le.Uint32(b[0x28:]),
		inodeSize:      128,
		descSize:       32,
		state:          le.Uint16(b[0x3A:]),
		incompat:       le.Uint32(b[0x60:]),
		roCompat:       le.Uint32(b[0x64:]),
	}
	if le.Uint32(b[0x4C:]) >= 1 { // revision with inodes of any size
		s.inodeSize = int64(le.Uint16(b[0x58:]))
	}
	if s.incompat&incompat64bit != 0 {
		s.Blocks |= uint64(le.Uint32(b[0x150:])) << 32
		s.FreeBlocks |= uint64(le.Uint32(b[0x158:])) << 32
		s.descSize = int64(le.Uint16(b[0xFE:]))
	}
	s.seed = checksum(^uint32(0), b[0x68:0x78])
	if s.incompat&incompatCsumSeed != 0 {
		s.seed = le.Uint32(b[0x270:])
	}
	if s.checksummed() && checksum(^uint32(0), b[:0x3FC]) != le.Uint32(b[0x3FC:]) {
		return nil, corrupt("ext4 superblock does not match its checksum")
	}
	return s, s.check(le.Uint32(b[0x18:]))
}

// check bounds every number that others compute with.
func (s *Superblock) check(logBlockSize uint32) error {
	if logBlockSize > 6 {
		return corrupt("ext4 block size 1024<<%d", logBlockSize)
	}
	s.BlockSize = 1024 << logBlockSize
	bits := uint64(8 * s.BlockSize) // one bitmap block describes a group
	switch {
	case s.inodeSize < 128 || s.inodeSize > s.BlockSize || s.inodeSize&(s.inodeSize-1) != 0:
		return corrupt("ext4 inodes of %d bytes", s.inodeSize)
	case s.descSize < 32 || s.descSize > 1024 || s.descSize&(s.descSize-1) != 0:
		return corrupt("ext4 group descriptors of %d bytes", s.descSize)
	case s.blocksPerGroup == 0 || uint64(s.blocksPerGroup) > bits:
		return corrupt("ext4 groups of %d blocks", s.blocksPerGroup)
	case s.inodesPerGroup == 0 || uint64(s.inodesPerGroup) > bits:
		return corrupt("ext4 groups of %d inodes", s.inodesPerGroup)
	case s.Blocks == 0 || s.Blocks >= 1<<48 || s.FreeBlocks > s.Blocks || uint64(s.firstDataBlock) >= s.Blocks:
		return corrupt("ext4 of %d blocks, %d of them free", s.Blocks, s.FreeBlocks)
	case s.Inodes == 0 || s.FreeInodes > s.Inodes:
		return corrupt("ext4 of %d inodes, %d of them free", s.Inodes, s.FreeInodes)
	case uint64(s.Inodes) > s.groups()*uint64(s.inodesPerGroup):
		return corrupt("ext4 of %d inodes in %d groups", s.Inodes, s.groups())
	}
	return nil
}

// Clean reports whether the disk alone tells the contents: the journal is
// empty, no error was noted, and no deleted file waits to be freed in a list
// that only a mount empties.
func (s *Superblock) Clean() bool {
	return s.incompat&incompatRecover == 0 && s.state&stateValid != 0 &&
		s.state&stateErrors == 0 && s.roCompat&roOrphanPresent == 0
}

// Supported returns nil if this package reads all features that the file
// system uses, or [ErrUnsupported] with their names.
func (s *Superblock) Supported() error {
	unknown := s.incompat &^ (readable | incompatRecover)
	var names []string
	for bit := uint32(1); bit != 0; bit <<= 1 {
		if unknown&bit == 0 {
			continue
		}
		name, ok := incompatNames[bit]
		if !ok {
			name = fmt.Sprintf("incompatible feature %#x", bit)
		}
		names = append(names, name)
	}
	if len(names) > 0 {
		return fmt.Errorf("%s: %w", strings.Join(names, ", "), ErrUnsupported)
	}
	return nil
}

func (s *Superblock) checksummed() bool { return s.roCompat&roMetadataCsum != 0 }

func (s *Superblock) groups() uint64 {
	return (s.Blocks - uint64(s.firstDataBlock) + uint64(s.blocksPerGroup) - 1) / uint64(s.blocksPerGroup)
}
