package ext4

import (
	"encoding/binary"

	"satchel/layers"
)

// The types of file, as the upper bits of [Inode.Mode].
const (
	TypeMask    = 0xF000
	TypeFifo    = 0x1000
	TypeCharDev = 0x2000
	TypeDir     = 0x4000
	TypeBlock   = 0x6000
	TypeRegular = 0x8000
	TypeSymlink = 0xA000
	TypeSocket  = 0xC000
)

const (
	flagImmutable = 0x10
	flagAppend    = 0x20
	flagEncrypted = 0x800
	flagIndex     = 0x1000
	flagExtents   = 0x80000
	flagEAInode   = 0x200000
	flagInline    = 0x10000000
)

// maxSize is the largest file that ext4 can hold: 2³² blocks of 64 KiB.
const maxSize = 1 << 48

// An Inode is a file without its names.
type Inode struct {
	Number  uint32
	Mode    uint16 // type and permissions, as in stat(2)
	UID     uint32
	GID     uint32
	Size    int64 // bytes
	Links   uint16
	ModTime layers.Time

	flags     uint32
	seed      uint32   // of the checksums of what belongs to this inode
	attrBlock uint64   // 0: none
	attrs     []byte   // attributes kept inside the inode
	block     [60]byte // extent tree, block map, symlink or device number
}

// Protected reports whether the file is marked immutable or append-only.
func (i *Inode) Protected() bool { return i.flags&(flagImmutable|flagAppend) != 0 }

// Inode reads an inode that is in use.
func (f *FS) Inode(n uint32) (*Inode, error) {
	if n == 0 || n > f.Inodes {
		return nil, corrupt("inode %d of %d", n, f.Inodes)
	}
	group, index := (n-1)/f.inodesPerGroup, (n-1)%f.inodesPerGroup
	b := make([]byte, f.inodeSize)
	if err := f.readAt(b, int64(f.tables[group])*f.BlockSize+int64(index)*f.inodeSize); err != nil {
		return nil, err
	}
	return f.parseInode(n, b)
}

// parseInode parses the record of inode n, which it keeps.
func (f *FS) parseInode(n uint32, b []byte) (*Inode, error) {
	le := binary.LittleEndian
	extra := 0 // bytes used beyond the first 128
	if len(b) > 128 {
		extra = int(le.Uint16(b[0x80:]))
		if 128+extra > len(b) || extra%4 != 0 {
			return nil, corrupt("inode %d has %d extra bytes of %d", n, extra, len(b)-128)
		}
	}
	i := &Inode{
		Number:    n,
		Mode:      le.Uint16(b),
		UID:       uint32(le.Uint16(b[0x2:])) | uint32(le.Uint16(b[0x78:]))<<16,
		GID:       uint32(le.Uint16(b[0x18:])) | uint32(le.Uint16(b[0x7A:]))<<16,
		Size:      int64(le.Uint32(b[0x4:])),
		Links:     le.Uint16(b[0x1A:]),
		ModTime:   layers.Time{Sec: int64(int32(le.Uint32(b[0x10:])))},
		flags:     le.Uint32(b[0x20:]),
		attrBlock: uint64(le.Uint32(b[0x68:])) | uint64(le.Uint16(b[0x76:]))<<32,
		attrs:     b[min(128+extra, len(b)):],
	}
	copy(i.block[:], b[0x28:])
	if i.Mode&TypeMask == TypeRegular || i.Mode&TypeMask == TypeDir {
		i.Size |= int64(le.Uint32(b[0x6C:])) << 32
	}
	if extra >= 0xC { // up to the extra bits of the modification time
		x := le.Uint32(b[0x88:])
		i.ModTime.Sec += int64(x&3) << 32
		i.ModTime.Nsec = x >> 2
	}
	i.seed = checksum32(checksum32(f.seed, n), le.Uint32(b[0x64:]))
	if f.checksummed() && !i.matches(b, extra) {
		return nil, corrupt("inode %d does not match its checksum", n)
	}
	return i, i.check()
}

// matches verifies the checksum of the inode's record b. Its upper half is
// kept only where there is room for it.
func (i *Inode) matches(b []byte, extra int) bool {
	le := binary.LittleEndian
	sum := checksum(i.seed, b[:0x7C])
	sum = checksum(sum, []byte{0, 0})
	sum = checksum(sum, b[0x7E:min(0x82, len(b))])
	want, mask := uint32(le.Uint16(b[0x7C:])), uint32(0xFFFF)
	if len(b) > 128 {
		upper := b[0x82:0x84]
		if extra >= 4 {
			want, mask = want|uint32(le.Uint16(upper))<<16, ^uint32(0)
			upper = []byte{0, 0}
		}
		sum = checksum(checksum(sum, upper), b[0x84:])
	}
	return sum&mask == want
}

func (i *Inode) check() error {
	switch {
	case i.Links == 0:
		return corrupt("inode %d has a name, but no links", i.Number)
	case i.Size < 0 || i.Size > maxSize:
		return corrupt("inode %d has size %d", i.Number, i.Size)
	case i.ModTime.Nsec > 999_999_999:
		return corrupt("inode %d has %d nanoseconds", i.Number, i.ModTime.Nsec)
	case i.flags&(flagEncrypted|flagEAInode|flagInline) != 0:
		return corrupt("inode %d has flags %#x of features that the file system lacks", i.Number, i.flags)
	}
	return nil
}

// Device returns the numbers of a device inode.
//
// The first word holds the old form of 8 and 8 bits; when it is zero, the
// second holds the new form of 12 and 20 bits.
func (i *Inode) Device() (major, minor uint32) {
	le := binary.LittleEndian
	if old := le.Uint32(i.block[:]); old != 0 {
		return old >> 8 & 0xFF, old & 0xFF
	}
	dev := le.Uint32(i.block[4:])
	return dev >> 8 & 0xFFF, dev&0xFF | dev>>12&0xFFF00
}
