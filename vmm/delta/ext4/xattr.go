package ext4

import (
	"encoding/binary"
	"slices"
	"strings"

	"satchel/layers"
)

const (
	attrMagic       = 0xEA020000
	attrBlockHeader = 32 // bytes
	attrEntryHeader = 16 // bytes
)

// attrPrefixes are the beginnings of names, by their number on the disk.
var attrPrefixes = map[byte]string{
	1: "user.",
	2: aclAccess,
	3: aclDefault,
	4: "trusted.",
	6: "security.",
	7: "system.",
	8: "system.richacl",
}

// Xattrs returns an inode's extended attributes, ordered by name, with the
// values that the kernel would hand out.
func (f *FS) Xattrs(i *Inode) ([]layers.Xattr, error) {
	a := &attributes{inode: i.Number}
	le := binary.LittleEndian
	if len(i.attrs) > 4 && le.Uint32(i.attrs) == attrMagic {
		// Inside the inode, values are addressed from the first entry on.
		if err := a.parse(i.attrs[4:], i.attrs[4:]); err != nil {
			return nil, err
		}
	}
	if i.attrBlock != 0 {
		b := make([]byte, f.BlockSize)
		if err := f.readBlock(b, i.attrBlock); err != nil {
			return nil, err
		}
		if err := f.checkAttrBlock(i, b); err != nil {
			return nil, err
		}
		// In a block, values are addressed from its beginning.
		if err := a.parse(b[attrBlockHeader:], b); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(a.list, func(a, b layers.Xattr) int { return strings.Compare(a.Name, b.Name) })
	for n := 1; n < len(a.list); n++ {
		if a.list[n].Name == a.list[n-1].Name {
			return nil, corrupt("inode %d has attribute %q twice", i.Number, a.list[n].Name)
		}
	}
	return a.list, nil
}

// checkAttrBlock verifies the header of an attribute block.
func (f *FS) checkAttrBlock(i *Inode, b []byte) error {
	le := binary.LittleEndian
	if le.Uint32(b) != attrMagic || le.Uint32(b[8:]) != 1 {
		return corrupt("inode %d has no attributes at block %d", i.Number, i.attrBlock)
	}
	if !f.checksummed() {
		return nil
	}
	sum := checksum(f.seed, le.AppendUint64(nil, i.attrBlock))
	sum = checksum(checksum(checksum(sum, b[:16]), make([]byte, 4)), b[20:])
	if sum != le.Uint32(b[16:]) {
		return corrupt("inode %d has attributes that do not match their checksum", i.Number)
	}
	return nil
}

// attributes collects those of one inode.
type attributes struct {
	inode uint32
	list  []layers.Xattr
}

// parse reads entries up to four zero bytes; values lie in the other slice.
func (a *attributes) parse(b, values []byte) error {
	le := binary.LittleEndian
	for len(b) >= 4 && le.Uint32(b) != 0 {
		if len(b) < attrEntryHeader || len(b) < attrEntryHeader+int(b[0]) {
			return corrupt("inode %d has an attribute cut short", a.inode)
		}
		offset, size := uint64(le.Uint16(b[2:])), uint64(le.Uint32(b[8:]))
		if le.Uint32(b[4:]) != 0 || offset+size > uint64(len(values)) {
			return corrupt("inode %d has an attribute value of %d bytes at %d", a.inode, size, offset)
		}
		prefix, ok := attrPrefixes[b[1]]
		if !ok {
			return corrupt("inode %d has an attribute of unknown kind %d", a.inode, b[1])
		}
		if size == 0 {
			offset = 0
		}
		x := layers.Xattr{
			Name:  prefix + string(b[attrEntryHeader:attrEntryHeader+int(b[0])]),
			Value: slices.Clone(values[offset : offset+size]),
		}
		if prefix == aclAccess || prefix == aclDefault {
			acl, err := decodeACL(x.Value)
			if err != nil {
				return corrupt("inode %d has a bad %s: %v", a.inode, prefix, err)
			}
			x.Value = acl
		}
		a.list = append(a.list, x)
		next := (attrEntryHeader + int(b[0]) + 3) &^ 3
		b = b[min(next, len(b)):]
	}
	return nil
}
