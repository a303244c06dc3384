// Package heads keeps the heads of layers and the leases of processes, in one
// bbolt database.
//
// A head is the only mutable thing in a store. A lease is the promise of a
// running process that it still writes, or that it still reads what certain
// roots reach; gc heeds it. The epoch counts gc's rounds, and a lease records
// the epoch in which it began. docs/durability.md says how gc uses both.
//
// Invariants:
//
//   - All the moves of one compare-and-swap happen, durably, or none, and with
//     them the marks of the versions whose trees did not come along.
//   - The version that a head is at is never marked as partial by its move.
//   - A version that is not marked as thin has all its contents, or had them
//     when the head moved to it.
//   - A lease lives exactly as long as the process that took it holds the lock
//     on the lease's file, so one that died is known at once, wherever it ran.
//
// The one idea: whatever two processes must agree on is in one small database
// whose transactions exclude each other.
package heads

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"sync"

	"go.etcd.io/bbolt"

	"satchel/store"
	"satchel/store/durable"
	"satchel/store/internal/bolt"
)

// Version is the version of the format that this build writes and reads.
const Version = 1

// MaxName is the longest name of a layer, in bytes.
const MaxName = 255

var (
	headsBucket   = []byte("heads")   // layer ID: version and name
	namesBucket   = []byte("names")   // name: layer ID
	leasesBucket  = []byte("leases")  // lease name: lease, as JSON
	partialBucket = []byte("partial") // version: layer ID; made when it is first needed
	thinBucket    = []byte("thin")    // the same
)

// Heads is the heads, leases and epoch of one store. It implements
// [store.Heads]. Its methods may be called from several goroutines, and from
// several processes, at once.
type Heads struct {
	file   *bolt.File
	leases string // directory of the leases' files

	mu   sync.Mutex
	held map[*Held]struct{} // leases that this value has taken and that live
}

var _ store.Heads = (*Heads)(nil)

// New returns the heads in the file at path, with the files of leases in the
// directory leases. It opens neither.
func New(path, leases string, fsys durable.FS) *Heads {
	return &Heads{leases: leases, held: map[*Held]struct{}{}, file: bolt.New(path, fsys, bolt.Format{
		Name:    "satchel-heads",
		Version: Version,
		Help:    "restore this file from a backup; the chunks are not affected",
	})}
}

// Init makes an empty database at the temporary name and moves it to its
// place.
func (h *Heads) Init(tmp string) error {
	return h.file.Create(tmp, func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{headsBucket, namesBucket, leasesBucket} {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		return nil
	})
}

// Create adds a layer with no version.
func (h *Heads) Create(ctx context.Context, name string) (store.Head, error) {
	var layer store.LayerID
	rand.Read(layer[:]) // never fails
	return h.Add(ctx, layer, name)
}

// Add adds a layer that was made in another store, with no version.
func (h *Heads) Add(ctx context.Context, layer store.LayerID, name string) (store.Head, error) {
	if layer.IsZero() {
		return store.Head{}, fmt.Errorf("layer %q: its ID is zero", name)
	}
	head := store.Head{Layer: layer, Name: name}
	err := h.file.Update(ctx, func(tx *bbolt.Tx) error {
		if tx.Bucket(headsBucket).Get(layer[:]) != nil {
			return fmt.Errorf("layer %s: %w", layer, store.ErrExist)
		}
		if err := takeName(tx, head); err != nil {
			return err
		}
		return putHead(tx, head)
	})
	if err != nil {
		return store.Head{}, err
	}
	return head, nil
}

// Rename gives a layer another name.
func (h *Heads) Rename(ctx context.Context, layer store.LayerID, name string) error {
	return h.file.Update(ctx, func(tx *bbolt.Tx) error {
		head, err := getHead(tx, layer)
		if err != nil || head.Name == name {
			return err
		}
		if err := tx.Bucket(namesBucket).Delete([]byte(head.Name)); err != nil {
			return err
		}
		head.Name = name
		if err := takeName(tx, head); err != nil {
			return err
		}
		return putHead(tx, head)
	})
}

// takeName gives a layer a name that no other has.
func takeName(tx *bbolt.Tx, head store.Head) error {
	if head.Name == "" || len(head.Name) > MaxName || strings.IndexByte(head.Name, 0) >= 0 {
		return fmt.Errorf("layer name %.40q: want 1 to %d bytes, none of them NUL", head.Name, MaxName)
	}
	names := tx.Bucket(namesBucket)
	if names.Get([]byte(head.Name)) != nil {
		return fmt.Errorf("layer %q: %w", head.Name, store.ErrExist)
	}
	return names.Put([]byte(head.Name), head.Layer[:])
}

// Lookup finds a layer by name.
func (h *Heads) Lookup(ctx context.Context, name string) (head store.Head, err error) {
	err = h.file.View(ctx, func(tx *bbolt.Tx) error {
		b := tx.Bucket(namesBucket).Get([]byte(name))
		if b == nil {
			return fmt.Errorf("layer %q: %w", name, store.ErrNotExist)
		}
		if len(b) != len(store.LayerID{}) {
			return fmt.Errorf("layer %q: %w: its ID has %d bytes", name, store.ErrCorrupt, len(b))
		}
		head, err = getHead(tx, store.LayerID(b))
		return err
	})
	return head, err
}

// Head finds a layer by its ID.
func (h *Heads) Head(ctx context.Context, layer store.LayerID) (head store.Head, err error) {
	err = h.file.View(ctx, func(tx *bbolt.Tx) error {
		head, err = getHead(tx, layer)
		return err
	})
	return head, err
}

// List returns all heads, ordered by name.
func (h *Heads) List(ctx context.Context) (heads []store.Head, err error) {
	err = h.file.View(ctx, func(tx *bbolt.Tx) error {
		heads, err = list(tx)
		return err
	})
	return heads, err
}

func list(tx *bbolt.Tx) ([]store.Head, error) {
	heads := []store.Head{}
	err := tx.Bucket(namesBucket).ForEach(func(name, id []byte) error {
		if len(id) != len(store.LayerID{}) {
			return fmt.Errorf("layer %q: %w: its ID has %d bytes", name, store.ErrCorrupt, len(id))
		}
		head, err := getHead(tx, store.LayerID(id))
		heads = append(heads, head)
		return err
	})
	return heads, err
}

// CompareAndSwap makes all the moves, durably, or none. A layer may occur in
// several moves, which then follow one another.
func (h *Heads) CompareAndSwap(ctx context.Context, moves ...store.Move) error {
	if len(moves) == 0 {
		return nil
	}
	return h.file.Update(ctx, func(tx *bbolt.Tx) error {
		for _, m := range moves {
			head, err := getHead(tx, m.Layer)
			if err != nil {
				return err
			}
			if head.Version != m.From {
				return fmt.Errorf("layer %q is at %s, not at %s: %w", head.Name, head.Version.Short(), m.From.Short(), store.ErrMoved)
			}
			head.Version = m.To
			if err := putHead(tx, head); err != nil {
				return err
			}
		}
		if err := notePartial(tx, moves); err != nil {
			return err
		}
		return noteThin(tx, moves)
	})
}

// Remove forgets a layer and its history, if its head is still version. What is
// marked as partial stays so: another layer's history, or a lease, may hold it.
func (h *Heads) Remove(ctx context.Context, layer store.LayerID, version store.ID) error {
	return h.file.Update(ctx, func(tx *bbolt.Tx) error {
		head, err := getHead(tx, layer)
		if err != nil {
			return err
		}
		if head.Version != version {
			return fmt.Errorf("layer %q is at %s, not at %s: %w", head.Name, head.Version.Short(), version.Short(), store.ErrMoved)
		}
		if err := tx.Bucket(namesBucket).Delete([]byte(head.Name)); err != nil {
			return err
		}
		return tx.Bucket(headsBucket).Delete(layer[:])
	})
}

func getHead(tx *bbolt.Tx, layer store.LayerID) (store.Head, error) {
	b := tx.Bucket(headsBucket).Get(layer[:])
	if b == nil {
		return store.Head{}, fmt.Errorf("layer %s: %w", layer, store.ErrNotExist)
	}
	if len(b) <= len(store.ID{}) {
		return store.Head{}, fmt.Errorf("layer %s: %w: record of %d bytes", layer, store.ErrCorrupt, len(b))
	}
	version, name := b[:len(store.ID{})], b[len(store.ID{}):]
	return store.Head{Layer: layer, Name: string(bytes.Clone(name)), Version: store.ID(version)}, nil
}

func putHead(tx *bbolt.Tx, head store.Head) error {
	return tx.Bucket(headsBucket).Put(head.Layer[:], append(head.Version[:], head.Name...))
}
