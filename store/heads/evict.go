package heads

import (
	"context"

	"go.etcd.io/bbolt"

	"satchel/store"
)

// Evict marks versions of the layers as partial, so that gc removes what only
// they need. It passes over those that a head is at, that a live lease reads
// from, or that keep names, and returns the others. Keep is asked after the
// leases have been read and while none can begin, so that what comes to be kept
// before its lease ends is kept throughout; it must not use the heads.
func (h *Heads) Evict(ctx context.Context, versions map[store.ID]store.LayerID, keep func() ([]store.ID, error)) (evicted []store.ID, err error) {
	err = h.file.Update(ctx, func(tx *bbolt.Tx) error {
		evicted = nil
		kept, err := h.keptFrom(tx, keep)
		if err != nil {
			return err
		}
		marks, err := tx.CreateBucketIfNotExists(partialBucket)
		if err != nil {
			return err
		}
		for version, layer := range versions {
			if kept[version] {
				continue
			}
			if err := marks.Put(version[:], layer[:]); err != nil {
				return err
			}
			// What was still to come of it does not come any more.
			if thin := tx.Bucket(thinBucket); thin != nil {
				if err := thin.Delete(version[:]); err != nil {
					return err
				}
			}
			evicted = append(evicted, version)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return evicted, nil
}

// keptFrom returns what must not be evicted.
func (h *Heads) keptFrom(tx *bbolt.Tx, keep func() ([]store.ID, error)) (map[store.ID]bool, error) {
	state, err := h.state(tx)
	if err != nil {
		return nil, err
	}
	more, err := keep()
	if err != nil {
		return nil, err
	}
	kept := map[store.ID]bool{}
	for _, id := range append(state.Roots(), more...) {
		kept[id] = true
	}
	return kept, nil
}
