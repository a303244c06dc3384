package index

import (
	"cmp"
	"context"
	"iter"
	"math/bits"
	"slices"

	"go.etcd.io/bbolt"

	"satchel/store"
)

// An Entry is what the index knows of a chunk.
type Entry struct {
	Location
	Found     bool
	Condemned bool
}

// Lookup finds chunks. The entries are in the order of ids.
func (x *Index) Lookup(ctx context.Context, ids []store.ID) ([]Entry, error) {
	entries := make([]Entry, len(ids))
	type hit struct {
		place int
		record
	}
	var hits []hit
	err := x.view(ctx, func(v *view) error {
		err := v.find(ids, func(i int, r record, condemned bool) error {
			entries[i] = Entry{Found: true, Condemned: condemned}
			hits = append(hits, hit{i, r})
			return nil
		})
		if err != nil {
			return err
		}
		// By pack, so that each record and each page of packs is read once.
		slices.SortFunc(hits, func(a, b hit) int { return cmp.Compare(a.pack, b.pack) })
		for _, h := range hits {
			if entries[h.place].Location, err = v.locate(h.record); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return entries, nil
}

// Present reports which chunks the caller may rely on: those that are indexed.
// It lifts the condemnation of those among them that gc has condemned.
func (x *Index) Present(ctx context.Context, ids []store.ID) ([]bool, error) {
	present := make([]bool, len(ids))
	var rescue []int
	err := x.view(ctx, func(v *view) error {
		return v.find(ids, func(i int, _ record, condemned bool) error {
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
func (v *view) find(ids []store.ID, fn func(i int, r record, condemned bool) error) error {
	for i := range inOrder(ids) {
		b, err := v.chunks.Get(ids[i][:])
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
		epoch, err := v.condemned.Get(ids[i][:])
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
