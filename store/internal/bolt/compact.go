package bolt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"go.etcd.io/bbolt"

	"satchel/store"
)

// When Compact makes a database anew. A change rewrites the pages that it
// touches, so after changes all over a database half of it is free. It has the
// file alone while it copies, so of a large one free pages are left for later
// changes to use.
const (
	compactShare = 4         // one page in so many is free
	compactLeast = growBy    // bytes of free pages
	compactMost  = 128 << 20 // bytes of the database
	compactBatch = 1 << 20   // bytes of keys and values that are written in one transaction
)

// Compact makes the database anew at the temporary name, without free pages,
// and moves it to its place, if that is worth it. It does nothing while another
// process has the file.
func (f *File) Compact(ctx context.Context, tmp string) error {
	worth := false
	err := f.Read(ctx, func(s *Snapshot) error {
		free, err := s.free()
		size := uint64(s.pageSize)
		worth = free*compactShare >= s.pages && free*size >= compactLeast && s.pages*size <= compactMost
		return err
	})
	if err != nil || !worth {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	err = f.try(false, func(db *bbolt.DB) error {
		if err := f.copyTo(tmp, db); err != nil {
			os.Remove(tmp) // what is left of it is only litter
			return err
		}
		return f.fs.Rename(tmp, f.path) // whoever waits for the old one's lock notices
	})
	if err != nil && !errors.Is(err, errRetry) {
		return fmt.Errorf("compact %s: %w", f.path, err)
	}
	return nil
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

// free returns how many pages bbolt lists as free. The list is a page, or
// several, of the numbers of others; a count that does not fit into its header
// comes first in it.
func (s *Snapshot) free() (uint64, error) {
	const none = 1<<64 - 1 // no list is kept
	if s.freelist == none {
		return 0, nil
	}
	b := make([]byte, pageHeader+8)
	if s.freelist >= s.pages {
		return 0, fmt.Errorf("%w: free list at page %d of %d", store.ErrCorrupt, s.freelist, s.pages)
	}
	if _, err := s.file.ReadAt(b, int64(s.freelist)*int64(s.pageSize)); err != nil {
		return 0, fmt.Errorf("read free list: %w", err)
	}
	n := uint64(ne.Uint16(b[10:]))
	if n == 0xFFFF {
		n = ne.Uint64(b[pageHeader:])
	}
	return n, nil
}
