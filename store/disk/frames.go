package disk

import (
	"context"
	"errors"

	"satchel/store"
)

// Frames calls emit with pack frames that together hold just the chunks asked
// for, each once, in the order in which they lie in packs. A frame of which all
// chunks are asked for goes out as it lies on disk; of others the chunks asked
// for are packed anew. The frame is valid only until emit returns. Memory does
// not depend on how many are asked for but for their IDs. It fails with
// [store.ErrNotExist], before the first frame, when a chunk is not there.
func (s *Store) Frames(ctx context.Context, ids []store.ID, emit func(frame []byte) error) error {
	return errors.ErrUnsupported
}
