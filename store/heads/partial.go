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
	marks, err := listMarks(tx, partialBucket)
	partial := make(map[store.ID]struct{}, len(marks))
	for version := range marks {
		partial[version] = struct{}{}
	}
	return partial, err
}

// listMarks returns the versions that a bucket marks, and their layers.
func listMarks(tx *bbolt.Tx, bucket []byte) (map[store.ID]store.LayerID, error) {
	marked := map[store.ID]store.LayerID{}
	marks := tx.Bucket(bucket)
	if marks == nil {
		return marked, nil
	}
	err := marks.ForEach(func(version, layer []byte) error {
		if len(version) != len(store.ID{}) || len(layer) != len(store.LayerID{}) {
			return fmt.Errorf("%s version: %w: record of %d and %d bytes", bucket, store.ErrCorrupt, len(version), len(layer))
		}
		marked[store.ID(version)] = store.LayerID(layer)
		return nil
	})
	return marked, err
}

// Complete takes the marks off versions: all they reach is there now. Versions
// that have none are no error.
func (h *Heads) Complete(ctx context.Context, versions ...store.ID) error {
	if len(versions) == 0 {
		return nil
	}
	return h.file.Update(ctx, func(tx *bbolt.Tx) error {
		for _, bucket := range [][]byte{partialBucket, thinBucket} {
			marks := tx.Bucket(bucket)
			if marks == nil {
				continue
			}
			for _, v := range versions {
				if err := marks.Delete(v[:]); err != nil {
					return err
				}
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
