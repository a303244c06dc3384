package device

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"satchel/layers/adopt"
	"satchel/store"
	"satchel/store/chunk"
	"satchel/store/disk"
	"satchel/store/durable"
)

// carry brings the home's store into the server's domain. The new store is
// made beside the old one and takes its place in one step, so there is always
// a whole one in place; the old one is then beside it, until the home knows
// that it is enrolled.
func (e *enrolment) carry(ctx context.Context) (err error) {
	domain := e.journal.Answer.Domain
	old, err := disk.Open(filepath.Join(e.dir, storeDir))
	switch {
	case errors.Is(err, store.ErrNotExist) || errors.Is(err, fs.ErrNotExist):
		if err := e.makeStore(domain, func(*disk.Store) error { return nil }); err != nil {
			return err
		}
		return e.place()
	case err != nil:
		return err
	}
	defer func() { err = errors.Join(err, old.Close()) }()
	if old.Domain() == domain {
		return nil
	}
	if e.was != nil {
		return fmt.Errorf("the store of this home is not in the domain of the server %s that it is enrolled with: %w", e.was.Server, store.ErrCorrupt)
	}
	unlock, err := e.quiet()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	return e.carryFrom(ctx, old, domain)
}

// carryFrom makes the new store from the old one, and puts it in its place if
// nobody has used the old one meanwhile.
func (e *enrolment) carryFrom(ctx context.Context, old *disk.Store, domain chunk.Domain) error {
	before, err := unused(ctx, old)
	if err != nil {
		return err
	}
	err = e.makeStore(domain, func(st *disk.Store) error {
		_, err := adopt.Adopt(ctx, old, st, e.opt.Progress)
		return err
	})
	if err != nil {
		return err
	}
	heads := filepath.Join(old.Dir(), "heads.db")
	seen, err := os.Stat(heads)
	if err != nil {
		return err
	}
	after, err := unused(ctx, old)
	if err != nil {
		return err
	}
	if !slices.Equal(before, after) {
		return fmt.Errorf("layers of this home were changed meanwhile: %w (try again)", store.ErrBusy)
	}
	// Whoever writes needs a lease, and leases are in the same file as the
	// heads. With that locked, and as it was, nobody has begun to; who waits
	// for the lock will find the file replaced.
	unlock, err := tryLock(heads)
	if err != nil {
		return err
	}
	now, err := os.Stat(heads)
	if err == nil && (!os.SameFile(seen, now) || seen.Size() != now.Size() || !seen.ModTime().Equal(now.ModTime())) {
		err = fmt.Errorf("the store of this home is in use: %w (try again)", store.ErrBusy)
	}
	if err == nil {
		err = e.place()
	}
	return errors.Join(err, unlock())
}

// makeStore makes the new store, afresh: what an earlier try left may be of any
// age.
func (e *enrolment) makeStore(domain chunk.Domain, fill func(*disk.Store) error) error {
	dir := filepath.Join(e.dir, newStoreDir)
	if err := e.step("make store"); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	st, err := disk.CreateIn(dir, domain)
	if err != nil {
		return err
	}
	if err := e.step("carry over"); err != nil {
		return errors.Join(err, st.Close())
	}
	return errors.Join(fill(st), st.Close())
}

// place puts the new store in the place of the old one, and the old one in its.
func (e *enrolment) place() error {
	if err := e.step("place store"); err != nil {
		return err
	}
	from, to := filepath.Join(e.dir, newStoreDir), filepath.Join(e.dir, storeDir)
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_EXCHANGE)
	if errors.Is(err, unix.ENOENT) {
		err = os.Rename(from, to)
	}
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		err = fmt.Errorf("%w: this file system cannot exchange two directories; enrol a home on another one", err)
	}
	if err != nil {
		return fmt.Errorf("put the store in place: %w", err)
	}
	if err := durable.SyncDir(e.dir); err != nil {
		return err
	}
	return e.step("placed store")
}
