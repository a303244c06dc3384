// Package dir brings a directory into a tree and a tree out into a directory.
//
// # Vocabulary
//
// A note says what was left out, and why. A stack holds the open directories
// from the root to where a walk stands.
//
// # Invariants
//
//   - No path is ever resolved: each file is reached by its name in an open
//     directory, without following links. A hostile tree cannot lead outside,
//     and paths may be longer than the kernel takes.
//   - The number of open directories is bounded; one that was closed is opened
//     again from the one below it and must be the same.
//
// # The one idea
//
// Sorted by name, a walk in depth meets files in the order of trees. So import
// makes a tree by appending and export makes directories by pushing and
// popping; neither ever searches.
package dir

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"satchel/layers"
)

// A NotesError reports that an export is not complete: what the caller's rights
// or the file system did not allow.
type NotesError []layers.Note

func (e NotesError) Error() string {
	return fmt.Sprintf("%d paths are not as they should be, first %s", len(e), e[0])
}

// Extended attributes in which overlayfs keeps what trees have entries for.
const (
	overlayPrefix = "trusted.overlay."
	overlayOpaque = overlayPrefix + "opaque"
)

// retry repeats a system call that a signal interrupted.
func retry(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
