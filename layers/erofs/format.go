package erofs

import (
	"encoding/binary"
	"hash/crc32"

	"satchel/layers"
)

// Sizes and offsets of the on-disk format, in bytes.
const (
	blockBits    = 12
	blockSize    = 1 << blockBits
	superOffset  = 1024
	superSize    = 128
	slotSize     = 32 // inodes lie at multiples of it; its number is the nid
	compactSize  = 32
	extendedSize = 64
	direntSize   = 12
	volumeLen    = 16 // with the NUL that ends it
)

// Values of fields.
const (
	superMagic = 0xE0F5E1E2

	compatChecksum = 1 << 0 // the superblock carries a checksum
	compatMtime    = 1 << 1 // the times of inodes are modification times

	layoutPlain  = 0 // data in contiguous blocks
	layoutInline = 2 // the same, but the last part follows the inode

	modeFifo    = 0o010000
	modeChar    = 0o020000
	modeDir     = 0o040000
	modeBlock   = 0o060000
	modeRegular = 0o100000
	modeSymlink = 0o120000

	maxBlocks = 1<<32 - 1 // block numbers have 32 bits, all ones is "none"
	maxMajor  = 1<<12 - 1
	maxMinor  = 1<<20 - 1
)

var le = binary.LittleEndian

// A kind is what the format knows of a type of file.
type kind struct {
	mode   uint16 // S_IFMT bits
	dirent byte   // file_type in a directory
}

var kinds = map[layers.Type]kind{
	layers.Regular:  {modeRegular, 1},
	layers.Dir:      {modeDir, 2},
	layers.CharDev:  {modeChar, 3},
	layers.BlockDev: {modeBlock, 4},
	layers.Fifo:     {modeFifo, 5},
	layers.Symlink:  {modeSymlink, 7},
}

// superblock is what varies in the superblock.
type superblock struct {
	rootNid uint16
	inodes  uint64
	build   layers.Time
	blocks  uint32
	uuid    [16]byte
	volume  string
}

// put writes the superblock into block, the first of the image, and seals it:
// the checksum covers everything from the superblock to the end of the block,
// the inodes there included, so they must be in place.
func (s *superblock) put(block []byte) {
	b := block[superOffset:blockSize]
	le.PutUint32(b[0:], superMagic)
	le.PutUint32(b[8:], compatChecksum|compatMtime)
	b[12] = blockBits
	le.PutUint16(b[14:], s.rootNid)
	le.PutUint64(b[16:], s.inodes)
	le.PutUint64(b[24:], uint64(s.build.Sec))
	le.PutUint32(b[32:], s.build.Nsec)
	le.PutUint32(b[36:], s.blocks)
	copy(b[48:64], s.uuid[:])
	copy(b[64:64+volumeLen-1], s.volume)
	// The format's CRC-32C is not complemented at the end.
	le.PutUint32(b[4:], ^crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

// inode is an inode as the format has it.
type inode struct {
	extended bool
	layout   uint16
	xattrs   int // bytes of the extended attributes that follow
	mode     uint16
	size     uint64
	union    uint32 // first block, or device number
	serial   uint32 // inode number for programs with 32-bit ones
	uid, gid uint32
	mtime    layers.Time // of extended inodes only
	nlink    uint32
}

// put writes the inode to the start of b and returns its length.
func (n *inode) put(b []byte) int {
	le.PutUint16(b[0:], n.layout<<1)
	le.PutUint16(b[2:], xattrCount(n.xattrs))
	le.PutUint16(b[4:], n.mode)
	le.PutUint32(b[16:], n.union)
	le.PutUint32(b[20:], n.serial)
	if !n.extended {
		le.PutUint16(b[6:], uint16(n.nlink))
		le.PutUint32(b[8:], uint32(n.size))
		le.PutUint16(b[24:], uint16(n.uid))
		le.PutUint16(b[26:], uint16(n.gid))
		return compactSize
	}
	b[0] |= 1
	le.PutUint64(b[8:], n.size)
	le.PutUint32(b[24:], n.uid)
	le.PutUint32(b[28:], n.gid)
	le.PutUint64(b[32:], uint64(n.mtime.Sec))
	le.PutUint32(b[40:], n.mtime.Nsec)
	le.PutUint32(b[44:], n.nlink)
	return extendedSize
}

// encodeDevice packs a device number as Linux does for file systems: the low
// eight bits of the minor, twelve of the major, then the rest of the minor.
//
// Source: new_encode_dev in the Linux kernel, include/linux/kdev_t.h.
func encodeDevice(major, minor uint32) uint32 {
	return minor&0xff | major<<8 | minor&^0xff<<12
}

// blocksOf returns how many blocks n bytes occupy.
func blocksOf(n int64) int64 { return n>>blockBits + (n&(blockSize-1)+blockSize-1)>>blockBits }

// alignUp rounds n up to a multiple of a, a power of two.
func alignUp(n, a int64) int64 { return (n + a - 1) &^ (a - 1) }
