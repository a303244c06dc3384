package registry

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"satchel/store"
	"satchel/syncer"
)

// Uploads are kept in buckets by when they were noted, each for a span of time,
// so that old ones go with their bucket and need no time of their own. A key is
// a device's serial and the chunk's ID, its value is empty.
const (
	uploadSpan  = 10 * 24 * time.Hour
	uploadSpans = 4    // that are kept: 30 days in full, and the span under way
	uploadBatch = 4096 // keys that one transaction writes
)

// openMark ends the name of the file that is there while uploads are open; it
// holds the boot of the machine in which they were opened.
const openMark = ".open"

// uploads is a file of its own that is written without waiting for the disk.
//
// That is safe since losing a note costs no more than a chunk that is sent
// again: nothing here says that a chunk is in the store, which the writer who
// uses it asks about itself. What must not happen is that a file which a power
// cut left half written is believed, or even opened. So while it is open a mark
// beside it says, durably, in which boot of the machine; where another boot's
// mark is found the file is begun anew.
type uploads struct{ db *bbolt.DB }

func openUploads(path string) (*uploads, error) {
	boot := bootID()
	was, err := os.ReadFile(path + openMark)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open uploads: %w", err)
	}
	if err == nil && string(was) != boot {
		err = os.Remove(path)
	}
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		err = writeMark(path+openMark, boot)
	}
	if err != nil {
		return nil, fmt.Errorf("open uploads: %w", err)
	}
	u, err := tryUploads(path)
	if !errors.Is(err, store.ErrCorrupt) {
		return u, err
	}
	if err := os.Remove(path); err != nil {
		return nil, fmt.Errorf("open uploads: %w", err)
	}
	return tryUploads(path)
}

// writeMark writes a small file, durably.
func writeMark(path, text string) error {
	f, err := os.Create(path + ".new")
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return rename(path+".new", path)
}

// bootID names this boot of the machine; where the kernel does not tell, every
// opening counts as one.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return newID(16)
	}
	return strings.TrimSpace(string(b))
}

func tryUploads(path string) (u *uploads, err error) {
	damaged := func(why any) error { return fmt.Errorf("%s: %w: %v", path, store.ErrCorrupt, why) }
	var file *os.File
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			abandon(file)
			err = damaged(p)
		}
	}()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout: patience, NoSync: true, FreelistType: bbolt.FreelistMapType, NoStatistics: true,
		OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
			var err error
			file, err = os.OpenFile(name, flag, mode)
			return file, err
		},
	})
	var system *fs.PathError
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return nil, fmt.Errorf("%s: %w", path, store.ErrBusy)
	case errors.As(err, &system):
		return nil, fmt.Errorf("open uploads: %w", err)
	case err != nil:
		return nil, damaged(err)
	}
	return &uploads{db}, nil
}

// close closes the file in order.
func (u *uploads) close() error {
	path := u.db.Path()
	if err := errors.Join(u.db.Sync(), u.db.Close()); err != nil {
		return err
	}
	return os.Remove(path + openMark)
}

// bucketOf names the bucket of a time.
func bucketOf(t time.Time) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(t.Unix()/int64(uploadSpan/time.Second)))
}

// Uploaded notes that a device has sent chunks, and so has shown to hold them.
func (r *Registry) Uploaded(ctx context.Context, device string, ids []store.ID) error {
	now := bucketOf(r.now())
	return r.eachUpload(ctx, device, ids, func(tx *bbolt.Tx, keys [][]byte) error {
		b, err := tx.CreateBucketIfNotExists(now)
		if err != nil {
			return err
		}
		for _, key := range keys {
			if err := b.Put(key, []byte{}); err != nil {
				return err
			}
		}
		return nil
	})
}

// HasUploaded tells which chunks a device has sent.
func (r *Registry) HasUploaded(ctx context.Context, device string, ids []store.ID) ([]bool, error) {
	serial, err := r.serial(device)
	if err != nil {
		return nil, err
	}
	has := make([]bool, len(ids))
	err = r.uploads.db.View(func(tx *bbolt.Tx) error {
		for _, b := range spans(tx) {
			for i, id := range ids {
				has[i] = has[i] || b.Get(uploadKey(serial, id)) != nil
			}
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		return nil
	})
	return has, err
}

// ForgetUploads drops such notes: those of the IDs, for a device, whose push is
// done, and all that are older than a month.
func (r *Registry) ForgetUploads(ctx context.Context, device string, ids []store.ID) error {
	if err := r.dropOld(); err != nil {
		return err
	}
	return r.eachUpload(ctx, device, ids, func(tx *bbolt.Tx, keys [][]byte) error {
		for _, b := range spans(tx) {
			for _, key := range keys {
				if err := b.Delete(key); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// dropOld removes the buckets whose time is over.
func (r *Registry) dropOld() error {
	oldest := bucketOf(r.now().Add(-(uploadSpans - 1) * uploadSpan))
	var old [][]byte
	err := r.uploads.db.View(func(tx *bbolt.Tx) error {
		c := tx.Cursor()
		for name, _ := c.First(); name != nil && bytes.Compare(name, oldest) < 0; name, _ = c.Next() {
			old = append(old, bytes.Clone(name))
		}
		return nil
	})
	if err != nil || len(old) == 0 {
		return err
	}
	return r.uploads.db.Update(func(tx *bbolt.Tx) error {
		for _, name := range old {
			if err := tx.DeleteBucket(name); err != nil && !errors.Is(err, berrors.ErrBucketNotFound) {
				return err
			}
		}
		return nil
	})
}

// spans returns the buckets of uploads.
func spans(tx *bbolt.Tx) (all []*bbolt.Bucket) {
	c := tx.Cursor()
	for name, _ := c.First(); name != nil; name, _ = c.Next() {
		if len(name) == 8 {
			all = append(all, tx.Bucket(name))
		}
	}
	return all
}

// eachUpload has do write the keys of uploads, in transactions that are never
// long and in the order of keys, which is the quickest.
func (r *Registry) eachUpload(ctx context.Context, device string, ids []store.ID, do func(*bbolt.Tx, [][]byte) error) error {
	serial, err := r.serial(device)
	if err != nil {
		return err
	}
	ids = slices.Clone(ids)
	slices.SortFunc(ids, func(a, b store.ID) int { return bytes.Compare(a[:], b[:]) })
	for part := range slices.Chunk(ids, uploadBatch) {
		if err := ctx.Err(); err != nil {
			return err
		}
		keys := make([][]byte, len(part))
		for i, id := range part {
			keys[i] = uploadKey(serial, id)
		}
		if err := r.uploads.db.Update(func(tx *bbolt.Tx) error { return do(tx, keys) }); err != nil {
			return fmt.Errorf("write uploads: %w", err)
		}
	}
	return nil
}

func uploadKey(serial uint64, id store.ID) []byte {
	return append(binary.LittleEndian.AppendUint64(nil, serial), id[:]...)
}

// serial is what a device's uploads go by: not its name, which another may get.
func (r *Registry) serial(device string) (uint64, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	row, ok := r.devices.rows[device]
	if !ok {
		return 0, fmt.Errorf("device %.80q: %w", device, syncer.ErrCertificate)
	}
	return row.Serial, nil
}
