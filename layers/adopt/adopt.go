// Package adopt carries the layers of a store over into another domain.
package adopt

import (
	"context"
	"errors"

	"satchel/store"
	"satchel/store/disk"
)

// Adopt copies all layers with their histories from one store to an empty one
// of another domain: contents are cut and named anew, layers keep their IDs and
// names, versions all that they say. It returns the new name of each version.
func Adopt(ctx context.Context, from, to *disk.Store, progress func(done, total int64)) (map[store.ID]store.ID, error) {
	return nil, errors.ErrUnsupported
}
