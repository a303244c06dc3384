package repo

import (
	"context"
	"errors"

	"satchel/store"
)

// Base returns the newest version that is in the history of both a and b, each
// of which counts to its own history, or zero when there is none. Of several
// that do not descend from each other it is the one made last. Only records of
// versions are read. A zero ID has no history.
func Base(ctx context.Context, g store.Getter, a, b store.ID) (store.ID, error) {
	return store.ID{}, errors.ErrUnsupported
}

// Descends reports whether from is in the history of version, itself included.
// Everything descends from the zero ID.
func Descends(ctx context.Context, g store.Getter, version, from store.ID) (bool, error) {
	return false, errors.ErrUnsupported
}
