// Package erofs lays a tree out as an EROFS image whose metadata is made in
// memory and whose file data stays in the store until somebody reads it.
//
// # Vocabulary
//
// A block is 4 KiB of the image. The metadata area holds the superblock, the
// inodes with what is inline in them, and the blocks of large directories. A
// run is the contiguous series of blocks that one file's data occupies in the
// data area, which follows.
//
// # Invariants
//
//   - The same tree and options give the same bytes.
//   - No inode crosses a block, and neither does inline data: directory tails
//     and symlinks that do not fit get blocks of their own.
//   - Every path of the tree is checked before anything is laid out: an image
//     holds all of the tree or is not made.
//   - Nothing but the tree is read to make an image. Data is read, verified by
//     the store, when [Image.ReadAt] is asked for it.
//
// # The one idea
//
// The block device is virtual, so giving every file its own contiguous blocks
// costs nothing: data needs neither alignment in the store nor an index in the
// image, and the oldest and simplest file layout of EROFS serves everywhere.
//
// The layout is specified in docs/format/erofs.md. Source of the format: the
// Linux kernel, Documentation/filesystems/erofs.rst and fs/erofs/erofs_fs.h.
package erofs
