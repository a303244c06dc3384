package ingest

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"os"

	"satchel/store/chunk"
)

// ImageHead is how many bytes at its start tell a disk image.
const ImageHead = 68 << 10

const imageLeast = 16 << 20 // bytes; a smaller file is never taken for a disk image

// image stores a disk image, or a part of one between two holes. Blocks of
// zeros are holes whether the file system keeps them as such or not: images
// come both ways.
func (c *cutter) image(f *file, r io.Reader) error {
	if c.disks == nil {
		c.disks = chunk.NewSplitter(c.p.domain.ForDisks())
	}
	return c.stretches(f, r, func(r io.Reader) error {
		return c.disks.SplitBlocks(r, func(chunk []byte) error { return c.add(f, chunk) })
	})
}

// recogniseFile reports whether a file is a disk image, without moving its
// offset. A file that cannot be read is not: reading it will tell why.
func (p *Pipeline) recogniseFile(f *os.File, size int64) bool {
	if p.domain.Block == 0 || size < imageLeast {
		return false
	}
	head := make([]byte, ImageHead)
	n, err := f.ReadAt(head, 0)
	return err == nil && IsImage(head[:n])
}

// recognise is recogniseFile for what can only be read once. It returns the
// reader to use from then on.
func (p *Pipeline) recognise(r io.Reader, size int64) (io.Reader, bool) {
	if p.domain.Block == 0 || size < imageLeast {
		return r, false
	}
	br := bufio.NewReaderSize(r, ImageHead)
	head, err := br.Peek(ImageHead)
	return br, err == nil && IsImage(head)
}

// IsImage reports whether a file that begins with head is a raw image of a
// disk with partitions or of a file system. One that is taken for an image by
// chance is stored no less faithfully.
func IsImage(head []byte) bool {
	return len(head) >= ImageHead && (isPartitioned(head) || isExt(head) ||
		bytes.HasPrefix(head, []byte("XFSB")) || bytes.HasPrefix(head[64<<10+64:], []byte("_BHRfS_M"))) // XFS, btrfs
}

// isPartitioned looks for a partition table.
//
// Source: UEFI specification, chapter 5: legacy MBR and GPT header.
func isPartitioned(head []byte) bool {
	for _, sector := range []int{512, 4096} {
		if bytes.HasPrefix(head[sector:], []byte("EFI PART")) {
			return true
		}
	}
	if head[510] != 0x55 || head[511] != 0xAA {
		return false
	}
	used := false
	for e := head[446:510]; len(e) > 0; e = e[16:] {
		if e[0]&0x7F != 0 {
			return false // neither bootable nor not: a boot sector's code
		}
		used = used || e[4] != 0 && binary.LittleEndian.Uint32(e[12:]) != 0
	}
	return used
}

// isExt looks for the superblock of ext2, ext3 or ext4.
//
// Source: Linux, Documentation/filesystems/ext4/super.rst.
func isExt(head []byte) bool {
	super := head[1024:2048]
	u32 := func(at int) uint32 { return binary.LittleEndian.Uint32(super[at:]) }
	return binary.LittleEndian.Uint16(super[0x38:]) == 0xEF53 &&
		u32(0) != 0 && u32(4) != 0 && // inodes, blocks
		u32(0x18) <= 6 && u32(0x4C) <= 1 // blocks of 1 to 64 KiB; revision
}
