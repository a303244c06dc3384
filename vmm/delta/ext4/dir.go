package ext4

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
)

// A DirEntry is one name in a directory.
type DirEntry struct {
	Name  string // any bytes but NUL and the slash
	Inode uint32
}

// Layout of a directory entry, and of the one at the end of each leaf that
// holds its checksum.
const (
	direntHeader = 8
	direntTail   = 12
	tailType     = 0xDE
)

// ReadDir returns the names in a directory, ordered by their bytes, without
// "." and "..".
//
// A hashed directory is read like a plain one: its leaves hold ordinary
// entries, and its index blocks look like blocks of one unused entry, made so
// for readers that do not know them.
func (f *FS) ReadDir(i *Inode) ([]DirEntry, error) {
	if i.Mode&TypeMask != TypeDir {
		return nil, corrupt("inode %d of mode %#o is no directory", i.Number, i.Mode)
	}
	runs, err := f.runs(i)
	if err != nil {
		return nil, err
	}
	d := &directory{fs: f, inode: i, seen: make(map[string]struct{})}
	b := make([]byte, f.BlockSize)
	for _, r := range runs {
		for n := range r.count {
			if int64(r.at+n)*f.BlockSize >= i.Size {
				break
			}
			if err := f.readBlock(b, r.disk+n); err != nil {
				return nil, err
			}
			if err := d.block(b, r.at+n == 0); err != nil {
				return nil, err
			}
		}
	}
	slices.SortFunc(d.entries, func(a, b DirEntry) int { return strings.Compare(a.Name, b.Name) })
	return d.entries, nil
}

// A directory collects the entries of one. That it refuses a name it has seen
// keeps a false map of blocks from being read over and over.
type directory struct {
	fs      *FS
	inode   *Inode
	seen    map[string]struct{}
	entries []DirEntry
}

// block parses one block, which it does not keep.
func (d *directory) block(b []byte, first bool) error {
	if d.fs.checksummed() && !d.index(b, first) {
		tail := b[len(b)-direntTail:]
		if !bytes.Equal(tail[:8], []byte{0, 0, 0, 0, direntTail, 0, 0, tailType}) ||
			checksum(d.inode.seed, b[:len(b)-direntTail]) != binary.LittleEndian.Uint32(tail[8:]) {
			return corrupt("directory %d has a block that does not match its checksum", d.inode.Number)
		}
		b = b[:len(b)-direntTail]
	}
	for len(b) > 0 {
		n := recordLen(b, int(d.fs.BlockSize))
		if n < direntHeader || n%4 != 0 || n > len(b) {
			return corrupt("directory %d has an entry of %d bytes", d.inode.Number, n)
		}
		if err := d.entry(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// index reports whether b is a block of a hashed directory's index: its root,
// or one that a single unused entry fills. They have no entry to verify: the
// root's are "." and "..".
func (d *directory) index(b []byte, first bool) bool {
	if d.inode.flags&flagIndex == 0 {
		return false
	}
	return first || binary.LittleEndian.Uint32(b) == 0 && recordLen(b, int(d.fs.BlockSize)) == len(b)
}

// recordLen decodes the length of an entry: blocks of 64 KiB do not fit the
// field, and have forms of their own.
func recordLen(b []byte, blockSize int) int {
	if len(b) < direntHeader {
		return 0
	}
	n := int(binary.LittleEndian.Uint16(b[4:]))
	if blockSize == 1<<16 && (n == 0 || n == 1<<16-1) {
		return 1 << 16
	}
	return n
}

// entry adds one directory entry, if it is in use.
func (d *directory) entry(b []byte) error {
	inode := binary.LittleEndian.Uint32(b)
	if inode == 0 {
		return nil
	}
	n := int(b[6])
	if direntHeader+n > len(b) {
		return corrupt("directory %d has a name of %d bytes in an entry of %d", d.inode.Number, n, len(b))
	}
	name := string(b[direntHeader : direntHeader+n])
	if name == "." || name == ".." {
		return nil
	}
	if _, twice := d.seen[name]; twice || name == "" || strings.ContainsAny(name, "/\x00") {
		return corrupt("directory %d has a bad name %q", d.inode.Number, name)
	}
	d.seen[name] = struct{}{}
	d.entries = append(d.entries, DirEntry{name, inode})
	return nil
}
