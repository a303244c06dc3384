package manifest

import (
	"context"
	"errors"

	"satchel/store"
)

// Refs are the chunks that one manifest chunk names.
type Refs struct {
	Parents  []store.ID // versions, of a version
	Below    []store.ID // manifest chunks: the roots of a version's trees, nodes, lists
	Contents []store.ID // chunks of files' contents, holes left out
}

// ParseRefs reads a manifest chunk of whatever kind and returns what it names.
// It fails with [store.ErrCorrupt] or [store.ErrNewer].
func ParseRefs(chunk []byte) (Refs, error) { return Refs{}, errors.ErrUnsupported }

// Verify checks all that a version consists of, its history aside: that each
// manifest chunk is well formed and agrees with what names it. It does not look
// below a chunk that known returns true for, and calls contents with the IDs of
// file chunks that it meets, which it does not read. It fails with
// [store.ErrNotExist] or [store.ErrCorrupt].
func Verify(ctx context.Context, g store.Getter, version store.ID, known func(store.ID) bool, contents func([]store.ID) error) error {
	return errors.ErrUnsupported
}
