package bolt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"go.etcd.io/bbolt"
)

// When Compact makes a database anew. A change rewrites the pages that it
// touches and splits those that are full, so after changes all over a database
// half of it is free, and of the rest half is empty. It has the file alone while
// it copies, so a large one is left to fill up by later changes.
const (
	compactShare = 3         // one byte in so many holds nothing
	compactLeast = growBy    // bytes that hold nothing
	compactMost  = 128 << 20 // bytes of the database
	compactBatch = 1 << 20   // bytes of keys and values that are written in one transaction
)

// Compact makes the database anew at the temporary name, without what holds
// nothing, and moves it to its place, if that is worth it. It does nothing while
// another process has the file.
func (f *File) Compact(ctx context.Context, tmp string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	worth := false
	err := f.try(true, func(db *bbolt.DB) error {
		return db.View(func(tx *bbolt.Tx) error { worth = wasteful(tx); return nil })
	})
	if err == nil && worth && ctx.Err() == nil {
		err = f.try(false, func(db *bbolt.DB) error {
			if err := f.copyTo(tmp, db); err != nil {
				os.Remove(tmp) // what is left of it is only litter
				return err
			}
			return f.fs.Rename(tmp, f.path) // whoever waits for the old one's lock notices
		})
	}
	if err != nil && !errors.Is(err, errRetry) {
		return fmt.Errorf("compact %s: %w", f.path, err)
	}
	return nil
}

// wasteful reports whether a database is worth to be made anew.
func wasteful(tx *bbolt.Tx) bool {
	size := tx.Size()
	if size > compactMost {
		return false
	}
	used := int64(0)
	_ = tx.ForEach(func(_ []byte, b *bbolt.Bucket) error { // fails only if the function does
		s := b.Stats()
		used += int64(s.LeafInuse + s.BranchInuse)
		return nil
	})
	return (size-used)*compactShare >= size && size-used >= compactLeast
}

// copyTo makes a durable copy of a database.
func (f *File) copyTo(tmp string, db *bbolt.DB) (err error) {
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var file *os.File
	to, err := bbolt.Open(tmp, 0o600, &bbolt.Options{
		FreelistType: bbolt.FreelistMapType,
		NoStatistics: true,
		OpenFile: func(name string, flag int, mode os.FileMode) (_ *os.File, err error) {
			file, err = os.OpenFile(name, flag, mode)
			return file, err
		},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	to.AllocSize, to.NoSync = growBy, true // synced once, below
	if err := bbolt.Compact(to, db, compactBatch); err != nil {
		return err
	}
	return f.fs.Sync(file)
}
