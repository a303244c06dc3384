package erofs

import (
	"fmt"
	"math"
	"strings"

	"satchel/layers"
)

const (
	xattrHeader    = 12 // before the entries of one inode
	xattrEntry     = 4  // before the name and value of one attribute
	maxXattrName   = math.MaxUint8
	maxXattrValue  = math.MaxUint16
	maxXattrCount  = math.MaxUint16
	maxXattrsBytes = xattrHeader + 4*(maxXattrCount-1)
)

// namespaces lists the namespaces that the format knows. The name that is
// stored is what follows the prefix; the ACLs have no name but their prefix.
var namespaces = []struct {
	prefix string
	index  byte
	whole  bool // nothing may follow the prefix
}{
	{"user.", 1, false},
	{"system.posix_acl_access", 2, true},
	{"system.posix_acl_default", 3, true},
	{"trusted.", 4, false},
	{"security.", 6, false},
}

// splitXattr returns the namespace of an attribute's name, and the rest of it.
func splitXattr(name string) (index byte, rest string, ok bool) {
	for _, ns := range namespaces {
		if rest, ok := strings.CutPrefix(name, ns.prefix); ok && (rest == "") == ns.whole {
			return ns.index, rest, true
		}
	}
	return 0, "", false
}

// xattrsSize returns how many bytes follow an inode for its extended
// attributes, or a [layers.PathError] that names the attribute which the
// format cannot hold.
func xattrsSize(e *layers.Entry) (int, error) {
	if len(e.Xattrs) == 0 {
		return 0, nil
	}
	size := xattrHeader
	for _, x := range e.Xattrs {
		_, rest, ok := splitXattr(x.Name)
		switch {
		case !ok:
			return 0, refuse(e, "extended attribute %q is in a namespace that EROFS lacks", x.Name)
		case len(rest) > maxXattrName:
			return 0, refuse(e, "extended attribute %.40q… has a name of %d bytes, EROFS holds %d", x.Name, len(rest), maxXattrName)
		case len(x.Value) > maxXattrValue:
			return 0, refuse(e, "extended attribute %q has %d bytes, EROFS holds %d", x.Name, len(x.Value), maxXattrValue)
		}
		size += xattrSize(len(rest), len(x.Value))
		if size > maxXattrsBytes {
			return 0, refuse(e, "extended attributes take more than the %d bytes that EROFS holds", maxXattrsBytes)
		}
	}
	return size, nil
}

// xattrSize is the length of one attribute, padded to a multiple of four.
func xattrSize(name, value int) int { return int(alignUp(int64(xattrEntry+name+value), 4)) }

// xattrCount is the form in which an inode tells the size of its attributes.
func xattrCount(size int) uint16 {
	if size == 0 {
		return 0
	}
	return uint16((size-xattrHeader)/4 + 1)
}

// putXattrs writes the attributes of an inode to the start of b, which is zero.
func putXattrs(b []byte, xattrs []layers.Xattr) {
	b = b[xattrHeader:] // all zero: no filter, none shared
	for _, x := range xattrs {
		index, rest, _ := splitXattr(x.Name)
		b[0], b[1] = byte(len(rest)), index
		le.PutUint16(b[2:], uint16(len(x.Value)))
		copy(b[xattrEntry:], rest)
		copy(b[xattrEntry+len(rest):], x.Value)
		b = b[xattrSize(len(rest), len(x.Value)):]
	}
}

// refuse makes the error for an entry that the format cannot hold.
func refuse(e *layers.Entry, format string, args ...any) error {
	return &layers.PathError{Path: e.Path, Reason: fmt.Sprintf(format, args...)}
}
