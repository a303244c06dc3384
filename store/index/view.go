package index

import (
	"context"

	"satchel/store/internal/bolt"
)

// view is the buckets as they are now, to be read.
type view struct {
	chunks, names, condemned, packs *bolt.Tree
	last                            Pack // the pack that was read last; it has a name if there is one
	lastNumber                      uint32
}

func (x *Index) view(ctx context.Context, fn func(v *view) error) error {
	return x.file.Read(ctx, func(s *bolt.Snapshot) error {
		v := &view{}
		for _, b := range []struct {
			tree **bolt.Tree
			name []byte
		}{
			{&v.chunks, chunksBucket}, {&v.names, namesBucket}, {&v.condemned, condemnedBucket}, {&v.packs, packsBucket},
		} {
			var err error
			if *b.tree, err = s.Bucket(b.name); err != nil {
				return err
			}
		}
		return fn(v)
	})
}

// locate is fastest when records of the same pack follow each other.
func (v *view) locate(r record) (Location, error) {
	if v.last.Name == "" || v.lastNumber != r.pack {
		b, err := v.packs.Get(be.AppendUint32(nil, r.pack))
		if err != nil {
			return Location{}, err
		}
		p, err := parseNumbered(r.pack, b)
		if err != nil {
			return Location{}, err
		}
		v.last, v.lastNumber = p, r.pack
	}
	return r.in(v.last), nil
}

// number returns the number of a pack, or false if there is none of the name.
func (v *view) number(name string) (uint32, bool, error) {
	b, err := v.names.Get([]byte(name))
	if err != nil || len(b) != 4 {
		return 0, false, err
	}
	return be.Uint32(b), true, nil
}
