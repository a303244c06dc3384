// Package delta keeps the delta disk: the only thing that a guest writes.
//
// # Vocabulary
//
// A delta disk is an ext4 file system in a sparse file. Its directory upper is
// the upper directory of the guest's overlay, and holds what the guest changed
// since its workspace was composed; work is scratch of the overlay's. To read
// upper into a tree is to capture it. A delta disk is fresh until it is
// mounted, dirty while it is, and clean again once it was unmounted.
//
// # Invariants
//
//   - No function here changes or removes a delta disk that may hold work.
//     What has to be repaired is repaired in a copy beside it, and only the
//     caller, once the capture is committed, removes the original.
//   - A file appears under its name whole, or not at all; a disk that guests
//     write to is durable before it has a name.
//   - What can not be captured in full is an error; what is left out on
//     purpose, such as sockets, is reported in a [layers.Note].
//
// # The one idea
//
// Root is not needed anywhere: file systems are made and repaired by e2fsprogs
// as plain files, and read by the package ext4 below this one.
package delta

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"satchel/store"
	"satchel/vmm/delta/ext4"
)

// Names on a delta disk that the guest's init makes, in the root directory.
const (
	Label    = "satchel-delta" // of the file system
	UpperDir = "upper"         // upper directory of the overlay
	WorkDir  = "work"          // work directory of the overlay
)

// ErrDirty reports a delta disk whose guest did not unmount it. [Replay] makes
// a clean copy.
var ErrDirty = ext4.ErrDirty

// A Condition says what may be done with a delta disk.
type Condition int

// The conditions of a delta disk.
const (
	Absent Condition = iota // there is none
	Fresh                   // nothing was ever written to it
	Clean                   // it was unmounted; it can be captured
	Dirty                   // it is mounted, or its guest crashed
)

// String returns the condition's name.
func (c Condition) String() string {
	names := [...]string{"absent", "fresh", "clean", "dirty"}
	if c >= 0 && int(c) < len(names) {
		return names[c]
	}
	return fmt.Sprintf("condition %d", int(c))
}

// MarshalText implements [encoding.TextMarshaler].
func (c Condition) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// A Status tells the state of a delta disk.
type Status struct {
	Condition Condition `json:"condition"`
	Size      int64     `json:"size"`      // bytes that the guest sees
	Used      int64     `json:"used"`      // of those, bytes in use by the file system and its own tables
	Allocated int64     `json:"allocated"` // bytes that the sparse file takes on the host
}

// State tells the state of the delta disk at path from its superblock. While a
// guest runs, Used lags behind. It fails with [store.ErrCorrupt] when the file
// is not an ext4 file system.
func State(path string) (Status, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Status{}, nil
	}
	if err != nil {
		return Status{}, fmt.Errorf("open delta disk: %w", err)
	}
	defer f.Close()
	st, err := status(f)
	if err != nil {
		return Status{}, fmt.Errorf("delta disk %s: %w", path, err)
	}
	return st, nil
}

func status(f *os.File) (Status, error) {
	info, err := f.Stat()
	if err != nil {
		return Status{}, err
	}
	s, err := ext4.ReadSuperblock(f)
	if err != nil {
		return Status{}, err
	}
	st := Status{
		Condition: Dirty,
		Size:      int64(s.Blocks) * s.BlockSize,
		Used:      int64(s.Blocks-s.FreeBlocks) * s.BlockSize,
		Allocated: allocated(info),
	}
	switch {
	case info.Size() < st.Size:
		return Status{}, fmt.Errorf("%d of %d bytes are there: %w", info.Size(), st.Size, store.ErrCorrupt)
	case s.Clean() && !s.Mounted:
		st.Condition = Fresh
	case s.Clean():
		st.Condition = Clean
	}
	return st, nil
}
