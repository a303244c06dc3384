package index

import (
	"bytes"
	"context"
	"fmt"

	"go.etcd.io/bbolt"

	"satchel/store"
)

// page is how many records one transaction handles when all are gone through,
// so that nobody waits long for their turn.
const page = 1 << 14

// A Use says how much of a pack is live.
type Use struct {
	Pack
	Chunks int   // indexed in this pack
	Live   int64 // plaintext bytes of those
}

// Uses returns all packs, ordered by the time at which they were added, with
// what is live in each.
func (x *Index) Uses(ctx context.Context) ([]Use, error) {
	var uses []Use
	place := map[uint32]int{}
	err := x.eachPack(ctx, func(number uint32, p Pack) {
		place[number] = len(uses)
		uses = append(uses, Use{Pack: p})
	})
	if err != nil {
		return nil, err
	}
	// A pack enters the index together with its chunks, so of the packs found
	// above every chunk is found below.
	err = x.each(ctx, func(_ *view, _ store.ID, r record) error {
		if i, ok := place[r.pack]; ok {
			uses[i].Chunks++
			uses[i].Live += int64(r.len)
		}
		return nil
	})
	return uses, err
}

// Packs returns all packs, ordered by the time at which they were added.
func (x *Index) Packs(ctx context.Context) (packs []Pack, err error) {
	err = x.eachPack(ctx, func(_ uint32, p Pack) { packs = append(packs, p) })
	return packs, err
}

func (x *Index) eachPack(ctx context.Context, fn func(number uint32, p Pack)) error {
	return x.view(ctx, func(v *view) error {
		return v.packs.Each(nil, func(k, b []byte) (more bool, err error) {
			if len(k) != 4 {
				return false, fmt.Errorf("index: %w: pack number of %d bytes", store.ErrCorrupt, len(k))
			}
			p, err := parsePack(b)
			if err == nil {
				fn(be.Uint32(k), p)
			}
			return true, err
		})
	})
}

// A Placed is a chunk and where it lies.
type Placed struct {
	ID store.ID
	Location
}

// In returns the chunks that are indexed in one pack, ordered by ID.
func (x *Index) In(ctx context.Context, name string) ([]Placed, error) {
	var all []Placed
	err := x.each(ctx, func(v *view, id store.ID, r record) error {
		number, found, err := v.number(name)
		if err != nil || !found || number != r.pack {
			return err
		}
		loc, err := v.locate(r)
		all = append(all, Placed{id, loc})
		return err
	})
	return all, err
}

// each calls fn for all records in order, page by page.
func (x *Index) each(ctx context.Context, fn func(v *view, id store.ID, r record) error) error {
	var next []byte // the first key of the next page
	for more := true; more; {
		err := x.view(ctx, func(v *view) (err error) {
			next, err = v.eachOfPage(next, fn)
			return err
		})
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		more = next != nil
	}
	return nil
}

func (v *view) eachOfPage(start []byte, fn func(v *view, id store.ID, r record) error) (next []byte, err error) {
	n := 0
	err = v.chunks.Each(start, func(k, b []byte) (more bool, err error) {
		if len(k) != len(store.ID{}) {
			return false, fmt.Errorf("index: %w: key of %d bytes", store.ErrCorrupt, len(k))
		}
		if n++; n > page {
			next = bytes.Clone(k)
			return false, nil
		}
		id := store.ID(k)
		r, err := parseRecord(id, b)
		if err != nil {
			return false, err
		}
		return true, fn(v, id, r)
	})
	return next, err
}

// Counts is how much an index holds.
type Counts struct {
	Chunks    int64
	Bytes     int64 // plaintext bytes of the chunks
	Condemned int64 // chunks that gc has condemned
	Packs     int64
	Stored    int64 // bytes of the packs
	Packed    int64 // plaintext bytes of what is in them, live or not
}

// Counts adds up the index.
func (x *Index) Counts(ctx context.Context) (Counts, error) {
	uses, err := x.Uses(ctx)
	if err != nil {
		return Counts{}, err
	}
	var c Counts
	for _, u := range uses {
		c.Chunks += int64(u.Chunks)
		c.Bytes += u.Live
		c.Packs++
		c.Stored += u.Size
		c.Packed += u.Bytes
	}
	err = x.file.View(ctx, func(tx *bbolt.Tx) error {
		c.Condemned = int64(tables(tx).condemned.Stats().KeyN)
		return nil
	})
	return c, err
}
