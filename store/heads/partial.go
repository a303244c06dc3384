package heads

import (
	"context"
	"fmt"

	"go.etcd.io/bbolt"

	"satchel/store"
)

// Partial returns the versions, of all layers, of which the store holds the
// record but not the trees.
func (h *Heads) Partial(ctx context.Context) (partial map[store.ID]struct{}, err error) {
	err = h.file.View(ctx, func(tx *bbolt.Tx) error {
		partial, err = listPartial(tx)
		return err
	})
	return partial, err
}

func listPartial(tx *bbolt.Tx) (map[store.ID]struct{}, error) {
	partial := map[store.ID]struct{}{}
	marks := tx.Bucket(partialBucket)
	if marks == nil {
		return partial, nil
	}
	err := marks.ForEach(func(version, layer []byte) error {
		if len(version) != len(store.ID{}) || len(layer) != len(store.LayerID{}) {
			return fmt.Errorf("partial version: %w: record of %d and %d bytes", store.ErrCorrupt, len(version), len(layer))
		}
		partial[store.ID(version)] = struct{}{}
		return nil
	})
	return partial, err
}

// Complete takes versions off that list: their trees are there now. Versions
// that are not on it are no error.
func (h *Heads) Complete(ctx context.Context, versions ...store.ID) error {
	if len(versions) == 0 {
		return nil
	}
	return h.file.Update(ctx, func(tx *bbolt.Tx) error {
		marks := tx.Bucket(partialBucket)
		if marks == nil {
			return nil
		}
		for _, v := range versions {
			if err := marks.Delete(v[:]); err != nil {
				return err
			}
		}
		return nil
	})
}

// notePartial marks the versions that the moves say are partial. What a head
// moved to is whole, whatever was said of it before.
func notePartial(tx *bbolt.Tx, moves []store.Move) error {
	marks, err := tx.CreateBucketIfNotExists(partialBucket)
	if err != nil {
		return err
	}
	for _, m := range moves {
		for _, v := range m.Partial {
			if err := marks.Put(v[:], m.Layer[:]); err != nil {
				return err
			}
		}
	}
	for _, m := range moves {
		if err := marks.Delete(m.To[:]); err != nil {
			return err
		}
	}
	return nil
}
