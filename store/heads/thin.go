package heads

import (
	"context"

	"go.etcd.io/bbolt"

	"satchel/store"
)

// Thin returns the versions, of all layers, of which the store holds the trees
// but maybe not all contents, and the layers that moved to them.
func (h *Heads) Thin(ctx context.Context) (thin map[store.ID]store.LayerID, err error) {
	err = h.file.View(ctx, func(tx *bbolt.Tx) error {
		thin, err = listMarks(tx, thinBucket)
		return err
	})
	return thin, err
}

// noteThin marks the versions that the moves say are thin, and while there are
// any, those that the moves do not say are whole.
func noteThin(tx *bbolt.Tx, moves []store.Move) error {
	for _, m := range moves {
		marks := tx.Bucket(thinBucket)
		var err error
		switch {
		case m.Whole && marks != nil:
			err = marks.Delete(m.To[:])
		case m.Whole:
		case m.Thin && marks == nil:
			if marks, err = tx.CreateBucket(thinBucket); err == nil {
				err = marks.Put(m.To[:], m.Layer[:])
			}
		case m.Thin, marks != nil && !empty(marks):
			err = marks.Put(m.To[:], m.Layer[:])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func empty(b *bbolt.Bucket) bool {
	first, _ := b.Cursor().First()
	return first == nil
}
