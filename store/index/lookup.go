package index

import (
	"context"
	"iter"
	"math/bits"
	"slices"

	"go.etcd.io/bbolt"

	"satchel/store"
	"satchel/store/internal/bolt"
)

// An Entry is what the index knows of a chunk.
type Entry struct {
	Location
	Found     bool
	Condemned bool
}

// Lookup finds chunks. The entries are in the order of ids.
func (x *Index) Lookup(ctx context.Context, ids []store.ID) ([]Entry, error) {
	var entries []Entry
	err := x.file.Read(ctx, func(s *bolt.Snapshot) error {
		packs, err := newPackReader(s)
		if err != nil {
			return err
		}
		entries = make([]Entry, len(ids))
		return find(s, ids, func(i int, r record, condemned bool) error {
			p, err := packs.pack(r.pack)
			entries[i] = Entry{Location: r.in(p), Found: true, Condemned: condemned}
			return err
		})
	})
	return entries, err
}

// Present reports which chunks the caller may rely on: those that are indexed.
// It lifts the condemnation of those among them that gc has condemned.
func (x *Index) Present(ctx context.Context, ids []store.ID) ([]bool, error) {
	present := make([]bool, len(ids))
	var rescue []int
	err := x.file.Read(ctx, func(s *bolt.Snapshot) error {
		return find(s, ids, func(i int, _ record, condemned bool) error {
			present[i] = true
			if condemned {
				rescue = append(rescue, i)
			}
			return nil
		})
	})
	if err != nil || len(rescue) == 0 {
		return present, err
	}
	err = x.file.Update(ctx, func(tx *bbolt.Tx) error {
		t := tables(tx)
		for _, i := range rescue {
			_, found, err := t.get(ids[i])
			if err != nil {
				return err
			}
			present[i] = found
			if err := t.condemned.Delete(ids[i][:]); err != nil {
				return err
			}
		}
		return nil
	})
	return present, err
}

// find calls fn for each of ids that is indexed, in no order that the caller
// could rely on.
func find(s *bolt.Snapshot, ids []store.ID, fn func(i int, r record, condemned bool) error) error {
	chunks, err := s.Bucket(chunksBucket)
	if err != nil {
		return err
	}
	condemned, err := s.Bucket(condemnedBucket)
	if err != nil {
		return err
	}
	for i := range inOrder(ids) {
		b, err := chunks.Get(ids[i][:])
		if err != nil {
			return err
		}
		if b == nil {
			continue
		}
		r, err := parseRecord(ids[i], b)
		if err != nil {
			return err
		}
		epoch, err := condemned.Get(ids[i][:])
		if err != nil {
			return err
		}
		if err := fn(i, r, epoch != nil); err != nil {
			return err
		}
	}
	return nil
}

// inOrder yields the places of ids, nearly by ID. So pages that are close to
// each other in the tree are come to one after the other, and what leads to
// them is at hand.
func inOrder(ids []store.ID) iter.Seq[int] {
	return func(yield func(int) bool) {
		mask := uint64(1)<<bits.Len(uint(len(ids))) - 1
		order := make([]uint64, len(ids)) // the first bits of an ID, then its place
		for i, id := range ids {
			order[i] = be.Uint64(id[:])&^mask | uint64(i)
		}
		slices.Sort(order)
		for _, o := range order {
			if !yield(int(o & mask)) {
				return
			}
		}
	}
}

// packReader reads the records of packs, each once.
type packReader struct {
	tree *bolt.Tree
	read map[uint32]Pack
}

func newPackReader(s *bolt.Snapshot) (packReader, error) {
	t, err := s.Bucket(packsBucket)
	return packReader{t, map[uint32]Pack{}}, err
}

func (r packReader) pack(number uint32) (Pack, error) {
	p, ok := r.read[number]
	if ok {
		return p, nil
	}
	b, err := r.tree.Get(be.AppendUint32(nil, number))
	if err == nil {
		p, err = parseNumbered(number, b)
	}
	r.read[number] = p
	return p, err
}
