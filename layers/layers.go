// Package layers is the contract of Satchel's layer model.
//
// # Vocabulary
//
// A workspace is a stack of layers, lowest first. A layer is a series of
// immutable versions; a [Version] names its parents and a [Tree]. A tree is a
// list of entries ordered by path, and a layer above the lowest holds only what
// differs from what lies below it: an upper entry hides the lower one at its
// path, a whiteout removes it, and an opaque directory hides all that lower
// layers have under it. Directories that lie on the way to an entry need no
// entry of their own.
//
// # Invariants
//
//   - Paths are relative, cleaned, slash-separated, any bytes but NUL; the
//     root is the empty path. Trees are strictly ordered by [ComparePaths].
//   - A hard link names the first path, in that order, of its file, in the same
//     tree, and carries nothing else.
//   - A version never changes. Rolling back makes a new version.
//
// # The one idea
//
// Layers meet only in pure functions over ordered trees: compose merges a
// stack into one tree, decompose sorts a tree of changes into a stack. All
// input and output is around them.
package layers

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"satchel/store"
)

// A Kind says what a layer holds and who writes it.
type Kind string

// The kinds of layer, lowest in a stack first.
const (
	OS       Kind = "os"       // guest operating system, written by a publisher
	Group    Kind = "group"    // applications of a group, written by a publisher
	Personal Kind = "personal" // applications the user installed
	System   Kind = "system"   // settings of the machine and its system
	Local    Kind = "local"    // what belongs to one device and never leaves it
	Data     Kind = "data"     // the user's files
)

// Kinds lists all kinds, lowest in a stack first.
var Kinds = []Kind{OS, Group, Personal, System, Local, Data}

// ParseKind returns the kind of that name.
func ParseKind(s string) (Kind, error) {
	if slices.Contains(Kinds, Kind(s)) {
		return Kind(s), nil
	}
	return "", fmt.Errorf("layer kind %q: want one of os, group, personal, system, local, data", s)
}

// Rank is the kind's place in a stack, lowest first.
func (k Kind) Rank() int { return slices.Index(Kinds, k) }

// Writable reports whether guests' changes go to layers of this kind.
func (k Kind) Writable() bool { return k.Rank() >= Personal.Rank() }

// A Form says what the tree of a version is.
type Form string

// The forms of versions. The zero value is the usual one.
const (
	Files Form = ""     // the files of a system, or what differs from those below
	Disk  Form = "disk" // one file, [DiskPath]: a whole disk that a machine boots
)

// DiskPath is the path of the one file of a version of disk form: the bytes of
// the disk from its first sector on, with holes for blocks of zeros.
const DiskPath = "disk"

// A Type is the type of a file.
type Type uint8

// The types of file. The numbers are part of the manifest format.
const (
	Regular Type = iota + 1
	Dir
	Symlink
	Hardlink // a further name of a file; Target is its first path in the tree
	CharDev
	BlockDev
	Fifo
	Whiteout // the path is removed from the layers below
)

// String returns the type's name.
func (t Type) String() string {
	names := [...]string{"none", "file", "dir", "symlink", "hardlink", "chardev", "blockdev", "fifo", "whiteout"}
	if int(t) < len(names) {
		return names[t]
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// An Extent is a run of a file's bytes: a chunk, or a hole where ID is zero.
type Extent struct {
	ID  store.ID
	Len int64 // bytes, more than 0
}

// A Xattr is one extended attribute, capabilities and ACLs included, with the
// value as the kernel hands it out.
type Xattr struct {
	Name  string // with its namespace: "security.capability"
	Value []byte
}

// A Time is a point in time as file systems keep it.
type Time struct {
	Sec  int64  // since 1970-01-01 UTC, may be negative
	Nsec uint32 // 0 to 999,999,999
}

// TimeOf converts from [time.Time].
func TimeOf(t time.Time) Time { return Time{t.Unix(), uint32(t.Nanosecond())} }

// Time converts to [time.Time], in UTC.
func (t Time) Time() time.Time { return time.Unix(t.Sec, int64(t.Nsec)).UTC() }

// An Entry is one path of a tree.
type Entry struct {
	Path    string
	Type    Type
	Opaque  bool   // of a Dir: hides all that lower layers have under it
	Mode    uint16 // permission, set-id and sticky bits: 0 to 07777
	UID     uint32
	GID     uint32
	ModTime Time
	Size    int64  // of a Regular: bytes, the sum of its extents
	Target  string // of a Symlink: where it points; of a Hardlink: the first path
	Major   uint32 // of a CharDev or BlockDev
	Minor   uint32
	Xattrs  []Xattr  // ordered by name
	Extents []Extent // of a Regular
}

// Same reports whether two entries are equal in all but path.
func (e *Entry) Same(o *Entry) bool {
	return e.SameAttrs(o) && e.SameContent(o)
}

// SameAttrs reports whether two entries agree in mode, owner, modification
// time and extended attributes.
func (e *Entry) SameAttrs(o *Entry) bool {
	return e.Mode == o.Mode && e.UID == o.UID && e.GID == o.GID && e.ModTime == o.ModTime &&
		slices.EqualFunc(e.Xattrs, o.Xattrs, func(a, b Xattr) bool {
			return a.Name == b.Name && string(a.Value) == string(b.Value)
		})
}

// SameContent reports whether two entries agree in type and in what the type
// carries: extents, target, device number, opacity.
func (e *Entry) SameContent(o *Entry) bool {
	return e.Type == o.Type && e.Opaque == o.Opaque && e.Size == o.Size && e.Target == o.Target &&
		e.Major == o.Major && e.Minor == o.Minor && slices.Equal(e.Extents, o.Extents)
}

// A Tree is a list of entries, strictly ordered by [ComparePaths].
type Tree []Entry

// ComparePaths orders paths so that a directory comes before what is in it and
// everything in it comes before anything outside: byte by byte, with the slash
// before every other byte.
func ComparePaths(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		x, y := a[i], b[i]
		if x == y {
			continue
		}
		if x == '/' {
			return -1
		}
		if y == '/' {
			return 1
		}
		return cmp.Compare(x, y)
	}
	return cmp.Compare(len(a), len(b))
}

// Sort puts a tree into order.
func (t Tree) Sort() {
	slices.SortFunc(t, func(a, b Entry) int { return ComparePaths(a.Path, b.Path) })
}

// Index returns where path is, or where it would be inserted.
func (t Tree) Index(path string) (int, bool) {
	return slices.BinarySearchFunc(t, path, func(e Entry, p string) int { return ComparePaths(e.Path, p) })
}

// Find returns the entry at path, or nil.
func (t Tree) Find(path string) *Entry {
	if i, ok := t.Index(path); ok {
		return &t[i]
	}
	return nil
}

// Under returns the entries strictly below the directory at path.
func (t Tree) Under(path string) Tree {
	if path == "" {
		if len(t) > 0 && t[0].Path == "" {
			return t[1:]
		}
		return t
	}
	lo, ok := t.Index(path)
	if ok {
		lo++
	}
	hi := lo
	for hi < len(t) && strings.HasPrefix(t[hi].Path, path) && t[hi].Path[len(path)] == '/' {
		hi++
	}
	return t[lo:hi]
}

// Resolve returns the entry that carries the file at e: e itself, or for a
// Hardlink the entry of its first path. It returns nil when that is missing.
func (t Tree) Resolve(e *Entry) *Entry {
	if e.Type != Hardlink {
		return e
	}
	first := t.Find(e.Target)
	if first == nil || first.Type == Hardlink || first.Type == Whiteout || first.Type == Dir {
		return nil
	}
	return first
}

// A PathError reports a path that a tree may not hold, or where a rule of
// trees is broken.
type PathError struct {
	Path   string
	Reason string
}

func (e *PathError) Error() string { return fmt.Sprintf("path %q: %s", e.Path, e.Reason) }

// Limits of a tree, in bytes.
const (
	MaxName = 255     // of one name
	MaxPath = 1 << 16 // of a whole path or a symlink's target
)

// CheckPath reports whether a path has the form that trees demand.
func CheckPath(path string) error {
	if path == "" {
		return nil
	}
	if len(path) > MaxPath {
		return &PathError{path[:64] + "…", fmt.Sprintf("longer than %d bytes", MaxPath)}
	}
	if strings.IndexByte(path, 0) >= 0 {
		return &PathError{path, "holds a NUL byte"}
	}
	for name := range strings.SplitSeq(path, "/") {
		switch {
		case name == "" || name == "." || name == "..":
			return &PathError{path, "is not a clean relative path"}
		case len(name) > MaxName:
			return &PathError{path, fmt.Sprintf("has a name longer than %d bytes", MaxName)}
		}
	}
	return nil
}

// SplitPath cuts a path into the directory that it is in and its name there.
// Of the root both are empty.
func SplitPath(path string) (dir, name string) {
	i := strings.LastIndexByte(path, '/')
	return path[:max(i, 0)], path[i+1:]
}

// Check reports the first entry that breaks a rule of trees.
func (t Tree) Check() error {
	for i := range t {
		e := &t[i]
		if i > 0 && ComparePaths(t[i-1].Path, e.Path) >= 0 {
			return &PathError{e.Path, "out of order"}
		}
		if err := e.check(); err != nil {
			return err
		}
		if e.Type == Hardlink && t.Resolve(e) == nil {
			return &PathError{e.Path, fmt.Sprintf("hard link to %q, which is not a file of this tree", e.Target)}
		}
	}
	return nil
}

func (e *Entry) check() error {
	if err := CheckPath(e.Path); err != nil {
		return err
	}
	if e.Type < Regular || e.Type > Whiteout {
		return &PathError{e.Path, "has no known type"}
	}
	if e.Path == "" && e.Type != Dir {
		return &PathError{e.Path, "the root is not a directory"}
	}
	var size int64
	for _, x := range e.Extents {
		if x.Len <= 0 || size+x.Len < size {
			return &PathError{e.Path, "has an extent of impossible length"}
		}
		size += x.Len
	}
	if size != e.Size {
		return &PathError{e.Path, fmt.Sprintf("size %d, but extents of %d bytes", e.Size, size)}
	}
	return nil
}

// A Root names a stored tree. The zero ID is the empty tree.
type Root struct {
	ID      store.ID `json:"id"`
	Entries int64    `json:"entries"`
	Files   int64    `json:"files"` // regular files, each counted once
	Bytes   int64    `json:"bytes"` // logical bytes of those
}

// A Version is one immutable state of a layer.
type Version struct {
	Layer   store.LayerID `json:"layer"`
	Kind    Kind          `json:"kind"`
	Parents []store.ID    `json:"parents"` // the versions it was made from
	Time    time.Time     `json:"time"`
	Device  string        `json:"device"`  // where it was made
	Message string        `json:"message"` // why, for people
	Tree    Root          `json:"tree"`
	// Base holds, for every path of Tree that hid a path of a lower layer when
	// the version was made, what was hidden. Compose needs it to merge three
	// ways when the layers below have moved on.
	Base Root `json:"base"`
	// Form says what Tree is. Only os and system layers have disks.
	Form Form `json:"form,omitempty"`
	// On is, of a disk in a system layer, the version of the os layer from
	// which the disk was first started. The disk is whole without it.
	On store.ID `json:"on,omitzero"`
}

// CheckForm reports why a version may not have the form that it says.
func (v *Version) CheckForm() error {
	switch {
	case v.Form == Files && v.On.IsZero():
		return nil
	case v.Form == Files:
		return fmt.Errorf("files that lie on version %s of a disk", v.On.Short())
	case v.Form != Disk:
		return fmt.Errorf("form %.20q is not known", v.Form)
	case v.Kind != OS && v.Kind != System:
		return fmt.Errorf("a layer of kind %s cannot be a disk", v.Kind)
	case v.On.IsZero() != (v.Kind == OS):
		return fmt.Errorf("a disk of kind %s that lies on version %s", v.Kind, v.On.Short())
	}
	return nil
}

// Disk returns the file of a tree of disk form, or fails if it is none.
func (t Tree) Disk() (*Entry, error) {
	if len(t) != 1 || t[0].Path != DiskPath || t[0].Type != Regular || t[0].Size%SectorSize != 0 || t[0].Size == 0 {
		return nil, &PathError{DiskPath, "is not the one file of a disk, of whole sectors"}
	}
	return &t[0], nil
}

// SectorSize is what the size of a disk is a multiple of, in bytes.
const SectorSize = 512
