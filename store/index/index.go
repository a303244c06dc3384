// Package index says in which pack each chunk lies.
//
// The index is a bbolt database that can always be rebuilt from the packs. It
// also knows which chunks gc has condemned: those that nothing reached when gc
// last looked. A condemned chunk can still be read, and whoever wants to rely
// on it rescues it first. docs/format/index.md specifies the records.
//
// Invariants:
//
//   - The index names only packs that are durable.
//   - A chunk has one location. Adding it again changes nothing but lifts its
//     condemnation.
//   - Each record carries a checksum over itself and its key.
//
// The one idea: every change is one short transaction that checks what it
// relies on, so processes need no other agreement.
package index

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"satchel/store"
	"satchel/store/durable"
	"satchel/store/internal/bolt"
	"satchel/store/pack"
)

// Version is the version of the format that this build writes and reads.
const Version = 1

var (
	chunksBucket    = []byte("chunks")    // chunk ID: record
	packsBucket     = []byte("packs")     // pack number: size and name
	namesBucket     = []byte("names")     // pack name: pack number
	condemnedBucket = []byte("condemned") // chunk ID: epoch
)

var be = binary.BigEndian

// An Index is the index of one store. Its methods may be called from several
// goroutines, and from several processes, at once.
type Index struct{ file *bolt.File }

// New returns the index in the file at path. It does not open it.
func New(path string, fsys durable.FS) *Index {
	return &Index{bolt.New(path, fsys, bolt.Format{
		Name:    "satchel-index",
		Version: Version,
		Help:    "run `satchel store verify --rebuild-index`",
	})}
}

// Create makes an empty index at the temporary name and moves it to its place,
// replacing what is there.
func (x *Index) Create(tmp string) error { return x.file.Create(tmp, makeBuckets) }

func makeBuckets(tx *bbolt.Tx) error {
	for _, name := range [][]byte{chunksBucket, packsBucket, namesBucket, condemnedBucket} {
		if _, err := tx.CreateBucket(name); err != nil {
			return err
		}
	}
	return nil
}

// Add names a durable pack and the chunks in it. Chunks that have a location
// keep it. Adding a pack again changes nothing.
func (x *Index) Add(ctx context.Context, name string, size int64, frames []pack.Frame) error {
	return x.file.UpdateMany(ctx, count(frames), func(tx *bbolt.Tx) error {
		_, err := tables(tx).add(name, size, frames)
		return err
	})
}

// table is the buckets of one transaction.
type table struct{ chunks, packs, names, condemned *bbolt.Bucket }

func tables(tx *bbolt.Tx) table {
	return table{tx.Bucket(chunksBucket), tx.Bucket(packsBucket), tx.Bucket(namesBucket), tx.Bucket(condemnedBucket)}
}

func (t table) get(id store.ID) (record, bool, error) {
	b := t.chunks.Get(id[:])
	if b == nil {
		return record{}, false, nil
	}
	r, err := parseRecord(id, b)
	return r, err == nil, err
}

func (t table) locate(r record) (Location, error) {
	p, err := t.pack(r.pack)
	return r.in(p), err
}

func (t table) pack(number uint32) (Pack, error) {
	return parseNumbered(number, t.packs.Get(be.AppendUint32(nil, number)))
}

func count(frames []pack.Frame) (chunks int) {
	for _, f := range frames {
		chunks += len(f.Chunks)
	}
	return chunks
}

// add returns the pack's number.
func (t table) add(name string, size int64, frames []pack.Frame) (uint32, error) {
	number, err := t.register(name, size, frames)
	if err != nil {
		return 0, err
	}
	for _, f := range frames {
		start := 0
		for _, c := range f.Chunks {
			r := record{number, uint32(f.Offset), uint32(f.Len), uint32(start), uint32(c.Len)}
			start += c.Len
			if t.chunks.Get(c.ID[:]) == nil {
				if err := t.chunks.Put(c.ID[:], r.encode(c.ID)); err != nil {
					return 0, err
				}
			}
			if err := t.condemned.Delete(c.ID[:]); err != nil {
				return 0, err
			}
		}
	}
	return number, nil
}

// register gives a pack its number, or finds the one it has.
func (t table) register(name string, size int64, frames []pack.Frame) (uint32, error) {
	if b := t.names.Get([]byte(name)); len(b) == 4 {
		return be.Uint32(b), nil
	}
	seq, err := t.packs.NextSequence()
	if err != nil {
		return 0, err
	}
	if seq > 1<<32-1 {
		return 0, fmt.Errorf("index has numbered %d packs: rebuild it", seq)
	}
	key := be.AppendUint32(nil, uint32(seq))
	if err := t.names.Put([]byte(name), key); err != nil {
		return 0, err
	}
	p := Pack{Name: name, Size: size}
	for _, f := range frames {
		for _, c := range f.Chunks {
			p.Bytes += int64(c.Len)
		}
	}
	return uint32(seq), t.packs.Put(key, p.encode())
}

// SetPatience changes how long operations wait for other processes before
// they fail with [store.ErrBusy].
func (x *Index) SetPatience(d time.Duration) { x.file.SetPatience(d) }
