package bolt

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"satchel/store"
)

// A Snapshot is the state of a database while the lock on its file is held. It
// reads the pages that it needs into memory of its own: when keys are far
// apart, as chunks' are, to map each page and to unmap it again takes several
// times as long, and keeps sixteen pages for each that was wanted.
type Snapshot struct {
	file     io.ReaderAt
	pageSize int
	pages    uint64 // of the file that are in use
	root     Tree   // bucket name: bucket
}

// Read runs fn on the database as it is now.
func (f *File) Read(ctx context.Context, fn func(s *Snapshot) error) error {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.retry(ctx, func() error { return f.tryRead(fn) })
}

func (f *File) tryRead(fn func(s *Snapshot) error) error {
	file, err := openExisting(f.path, os.O_RDONLY)
	if err != nil {
		return f.openError(err)
	}
	defer file.Close() // read only
	if err := f.lock(file, unix.LOCK_SH); err != nil {
		return err
	}
	// Closing does not do while a program that is being started still has its
	// copy of the descriptor.
	defer unix.Flock(int(file.Fd()), unix.LOCK_UN) //nolint:errcheck // closing follows
	info, err := file.Stat()
	if err != nil {
		return err
	}
	s, err := newSnapshot(file, info.Size())
	if err == nil {
		err = f.checkSnapshot(s)
	}
	if err == nil {
		err = fn(s)
	}
	return f.explain(err)
}

// lock takes a lock on the file, if it still is the one that the name stands for.
func (f *File) lock(file *os.File, how int) error {
	err := unix.Flock(int(file.Fd()), how|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return errRetry
	} else if err != nil {
		return fmt.Errorf("lock %s: %w", f.path, err)
	}
	return f.current(file)
}

func (f *File) checkSnapshot(s *Snapshot) error {
	b, err := s.Bucket(metaBucket)
	if err != nil {
		return err
	}
	format, err := b.Get(formatKey)
	if err != nil {
		return err
	}
	return f.checkFormat(string(format))
}

// What bbolt writes, in the byte order of the machine: a page begins with its
// number (8 bytes), flags (2), how many elements it has (2) and how many more
// pages it goes on for (4). The first two pages hold a meta each: magic (4),
// version (4), page size (4), flags (4), root bucket (16), free list (8), pages
// in use (8), number of the transaction (8) and FNV-1a of all that (8).
const (
	pageHeader = 16
	metaSize   = 64
	metaMagic  = 0xed0cdaed
	metaFormat = 2

	minPage, maxPage = 1 << 10, 1 << 16 // bytes of a page
)

var ne = binary.NativeEndian

// newSnapshot takes the meta of the newest transaction. The page size, and so
// the place of the second one, is only known from the metas themselves.
func newSnapshot(file io.ReaderAt, size int64) (*Snapshot, error) {
	var newest []byte
	take := func(offset int64) bool {
		b := make([]byte, pageHeader+metaSize)
		if _, err := file.ReadAt(b, offset); err != nil {
			return false
		}
		m := b[pageHeader:]
		h := fnv.New64a()
		h.Write(m[:metaSize-8]) // never fails
		if ne.Uint32(m) != metaMagic || ne.Uint32(m[4:]) != metaFormat || ne.Uint64(m[metaSize-8:]) != h.Sum64() {
			return false
		}
		if newest == nil || ne.Uint64(m[48:]) > ne.Uint64(newest[48:]) {
			newest = m
		}
		return true
	}
	if take(0) {
		take(int64(ne.Uint32(newest[8:])))
	} else {
		for at := int64(minPage); at <= maxPage && !take(at); at *= 2 {
		}
	}
	if newest == nil {
		return nil, fmt.Errorf("%w: no meta page is whole", store.ErrCorrupt)
	}
	s := &Snapshot{file: file, pageSize: int(ne.Uint32(newest[8:])), pages: ne.Uint64(newest[40:])}
	if s.pageSize < minPage || s.pageSize > maxPage {
		return nil, fmt.Errorf("%w: pages of %d bytes", store.ErrCorrupt, s.pageSize)
	}
	if have := uint64(size) / uint64(s.pageSize); s.pages > have {
		return nil, fmt.Errorf("%w: %d pages: want %d", store.ErrCorrupt, have, s.pages)
	}
	s.root = Tree{snapshot: s, root: ne.Uint64(newest[16:])}
	return s, nil
}

// Bucket returns a bucket of the database.
func (s *Snapshot) Bucket(name []byte) (*Tree, error) {
	v, isBucket, err := s.root.find(name)
	if err != nil {
		return nil, err
	}
	if !isBucket || len(v) < 16 {
		return nil, fmt.Errorf("%w: no bucket %q", store.ErrCorrupt, name)
	}
	t := &Tree{snapshot: s, root: ne.Uint64(v)}
	if t.root == 0 { // a small bucket lies where others have their root
		p := append(page(nil), v[16:]...)
		if err := p.check(0); err != nil {
			return nil, err
		}
		t.path = []page{p}
	}
	return t, nil
}
