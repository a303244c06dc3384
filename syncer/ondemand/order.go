package ondemand

import (
	"context"
	"path"

	"satchel/layers/manifest"
	"satchel/store"
	"satchel/store/disk"
	"satchel/syncer/trace"
)

// How much is asked for together with a miss: measured with a guest's boot over a
// line of 100 Mbit/s and 20 ms, see docs/lazy.md.
const (
	companions     = 32
	companionBytes = 1 << 20
)

// order says in what order the contents of thin layers are probably read, and
// which layer each is of.
type order struct {
	places map[store.ID]int32
	chunks []ordered
	next   map[store.ID]int32 // of a trace's chunks: where they are in it
	trace  []store.ID
}

// An ordered chunk is one in the order of files in a tree.
type ordered struct {
	id    store.ID
	size  int32
	dir   int32 // the number of its file's directory
	layer store.LayerID
}

// newOrder reads the trees of those layers that are thin.
func newOrder(ctx context.Context, st *disk.Store, layers []trace.Layer, thin map[store.ID]store.LayerID) (*order, error) {
	o := &order{places: map[store.ID]int32{}, next: map[store.ID]int32{}}
	dir := int32(0)
	for _, l := range layers {
		if _, ok := thin[l.Version]; !ok {
			continue
		}
		v, err := manifest.ReadVersion(ctx, st, l.Version)
		if err != nil {
			return nil, err
		}
		tree, err := manifest.ReadTree(ctx, st, v.Tree)
		if err != nil {
			return nil, err
		}
		last := ""
		for i := range tree {
			if parent := path.Dir(tree[i].Path); parent != last {
				last = parent
				dir++
			}
			for _, x := range tree[i].Extents {
				if _, met := o.places[x.ID]; met || x.ID.IsZero() {
					continue
				}
				o.places[x.ID] = int32(len(o.chunks))                                  //nolint:gosec // a tree has fewer
				o.chunks = append(o.chunks, ordered{x.ID, int32(x.Len), dir, l.Layer}) //nolint:gosec // chunks are small
			}
		}
	}
	return o, nil
}

// follow has a trace's chunks expected in its order.
func (o *order) follow(chunks []store.ID) {
	for _, id := range chunks {
		if _, known := o.places[id]; known {
			o.next[id] = int32(len(o.trace)) //nolint:gosec // traces are short
			o.trace = append(o.trace, id)
		}
	}
}

// layer returns the layer that a chunk is known to be of.
func (o *order) layer(id store.ID) (store.LayerID, bool) {
	i, ok := o.places[id]
	if !ok {
		return store.LayerID{}, false
	}
	return o.chunks[i].layer, true
}

func (o *order) size(id store.ID) int64 {
	if i, ok := o.places[id]; ok {
		return int64(o.chunks[i].size)
	}
	return 0
}

// after returns what may be read soon after a chunk, in the same layer: what
// follows in the trace, else what follows in the file and its directory.
func (o *order) after(id store.ID) []store.ID {
	var ids []store.ID
	bytes := o.size(id)
	at, ok := o.places[id]
	if !ok {
		return nil
	}
	layer := o.chunks[at].layer
	add := func(id store.ID) bool {
		next := &o.chunks[o.places[id]]
		if bytes += int64(next.size); bytes > companionBytes || len(ids) == companions {
			return false
		}
		if next.layer == layer {
			ids = append(ids, id)
		}
		return true
	}
	if i, ok := o.next[id]; ok {
		for _, id := range o.trace[i+1:] {
			if !add(id) {
				break
			}
		}
		return ids
	}
	for _, c := range o.chunks[at+1:] {
		if c.dir != o.chunks[at].dir || !add(c.id) {
			break
		}
	}
	return ids
}
