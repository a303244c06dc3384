package ext4

import (
	"errors"
	"fmt"

	"satchel/store"
)

// Errors that callers ask about with [errors.Is]. Damage is reported as
// [store.ErrCorrupt].
var (
	// ErrDirty reports a file system that was not unmounted: its journal has
	// to be replayed before it can be read.
	ErrDirty = errors.New("file system was not unmounted cleanly")
	// ErrUnsupported reports a file system with a feature that this package
	// does not read.
	ErrUnsupported = errors.New("file system feature not supported")
)

// corrupt returns an error that is [store.ErrCorrupt] and says what is wrong.
func corrupt(format string, args ...any) error {
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), store.ErrCorrupt)
}
