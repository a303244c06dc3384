// Package ext4 reads ext4 file systems: whole, without root and without a
// mount.
//
// # Vocabulary
//
// A block is the file system's unit, 1 to 64 KiB. An inode is a file without
// its names; a directory gives names to inodes. A run is a stretch of a file's
// blocks that lies in one piece on the disk; what no run covers is a hole and
// reads as zeros.
//
// # Invariants
//
//   - Nothing is written.
//   - A file system whose journal still holds changes is refused with
//     [ErrDirty]: without the journal its contents are from two moments.
//   - A file system with a feature this package does not know is refused with
//     [ErrUnsupported]: a guess would be silent loss.
//   - Every checksum that the file system keeps of what is read is verified,
//     and every number is checked before it is used as a length, an address or
//     a loop bound. What does not hold is reported as [store.ErrCorrupt].
//
// # The one idea
//
// A disk is a tree of small records, and each is parsed by a pure function
// from a slice of bytes; the only thing done to the disk is to read a block.
//
// Source of all formats: the kernel's description of the ext4 disk layout,
// https://docs.kernel.org/filesystems/ext4/.
package ext4
