package index

import (
	"context"
	"slices"

	"go.etcd.io/bbolt"

	"satchel/store"
	"satchel/store/pack"
)

// Condemn marks chunks as unreached in the given epoch. Chunks that are
// condemned already keep their epoch.
func (x *Index) Condemn(ctx context.Context, ids []store.ID, epoch uint64) error {
	return x.pages(ctx, len(ids), func(t table, i int) error {
		id := ids[i]
		if t.chunks.Get(id[:]) == nil || t.condemned.Get(id[:]) != nil {
			return nil
		}
		return t.condemned.Put(id[:], be.AppendUint64(nil, epoch))
	})
}

// Pardon lifts the condemnation of chunks.
func (x *Index) Pardon(ctx context.Context, ids []store.ID) error {
	return x.pages(ctx, len(ids), func(t table, i int) error {
		return t.condemned.Delete(ids[i][:])
	})
}

// Sweep removes those chunks that are still condemned since the epoch that the
// candidate names, and returns how many they were and their plaintext bytes.
func (x *Index) Sweep(ctx context.Context, doomed []Candidate) (chunks, size int64, err error) {
	swept := make([]uint32, len(doomed)) // plaintext bytes
	err = x.pages(ctx, len(doomed), func(t table, i int) error {
		id := doomed[i].ID
		swept[i] = 0
		if b := t.condemned.Get(id[:]); len(b) != 8 || be.Uint64(b)+1 != doomed[i].Condemned {
			return nil // rescued in the meantime
		}
		r, found, err := t.get(id)
		if err != nil {
			return err
		}
		if found {
			swept[i] = r.len
		}
		if err := t.chunks.Delete(id[:]); err != nil {
			return err
		}
		return t.condemned.Delete(id[:])
	})
	for _, n := range swept {
		if n > 0 {
			chunks++
			size += int64(n)
		}
	}
	return chunks, size, err
}

// pages calls fn with 0 to n-1, in transactions of bounded length. It may call
// it again with some of them, after a transaction that came to nothing.
func (x *Index) pages(ctx context.Context, n int, fn func(t table, i int) error) error {
	for start := 0; start < n; start += page {
		err := x.file.UpdateMany(ctx, min(n-start, page), func(tx *bbolt.Tx) error {
			t := tables(tx)
			for i := start; i < min(n, start+page); i++ {
				if err := fn(t, i); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Move names a durable pack that holds copies of chunks of other packs. The
// chunks that still lie in one of those are found in the new pack from now on.
func (x *Index) Move(ctx context.Context, from []string, to string, size int64, frames []pack.Frame) error {
	return x.file.UpdateMany(ctx, count(frames), func(tx *bbolt.Tx) error {
		t := tables(tx)
		number, err := t.register(to, size, frames)
		if err != nil {
			return err
		}
		for _, f := range frames {
			start := 0
			for _, c := range f.Chunks {
				r := record{number, uint32(f.Offset), uint32(f.Len), uint32(start), uint32(c.Len)}
				start += c.Len
				if err := t.move(c.ID, r, from); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func (t table) move(id store.ID, to record, from []string) error {
	old, found, err := t.get(id)
	if err != nil || !found {
		return err
	}
	p, err := t.pack(old.pack)
	if err != nil || !slices.Contains(from, p.Name) {
		return err
	}
	return t.chunks.Put(id[:], to.encode(id))
}

// Drop forgets packs. No chunk may lie in them.
func (x *Index) Drop(ctx context.Context, names []string) error {
	if len(names) == 0 {
		return nil
	}
	return x.file.Update(ctx, func(tx *bbolt.Tx) error {
		t := tables(tx)
		for _, name := range names {
			if key := t.names.Get([]byte(name)); key != nil {
				if err := t.packs.Delete(slices.Clone(key)); err != nil {
					return err
				}
			}
			if err := t.names.Delete([]byte(name)); err != nil {
				return err
			}
		}
		return nil
	})
}

// Forget removes chunks that turned out to be damaged, where they still lie at
// the place that was found bad, so that they are stored anew when they are put
// again.
func (x *Index) Forget(ctx context.Context, bad []Placed) error {
	return x.pages(ctx, len(bad), func(t table, i int) error {
		id := bad[i].ID
		r, found, err := t.get(id)
		if err != nil || !found {
			return err
		}
		if loc, err := t.locate(r); err != nil || loc != bad[i].Location {
			return err
		}
		if err := t.chunks.Delete(id[:]); err != nil {
			return err
		}
		return t.condemned.Delete(id[:])
	})
}

// Replace puts the database at the temporary name, which nobody uses, in the
// place of this one, which may be damaged or missing.
func (x *Index) Replace(ctx context.Context, tmp string) error {
	return x.file.Replace(ctx, tmp)
}

// Compact gives up the pages of the index that are free, if they are many, and
// uses the temporary name for that.
func (x *Index) Compact(ctx context.Context, tmp string) error { return x.file.Compact(ctx, tmp) }
