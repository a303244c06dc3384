package compose

import (
	"context"
	"crypto/sha256"

	"satchel/layers"
	"satchel/layers/merge"
	"satchel/store"
)

// A Result is a composed stack. It may be used by several goroutines at once.
type Result struct {
	// Tree has its root and every directory on the way to an entry, and
	// neither whiteouts nor opaque directories.
	Tree layers.Tree
	// Conflicts tells where registries could not be merged in full.
	Conflicts []merge.Conflict
	// Shadowed tells which files hide something that their layer was not made
	// for. That is no conflict, but somebody should know.
	Shadowed []Shadow

	owners []int32 // for each entry of Tree, its owner
	made   map[store.ID][]byte
	g      store.Getter
}

// A Shadow is a file whose layer was made when something else lay below it.
type Shadow struct {
	Path   string `json:"path"`
	Layer  string `json:"layer"`  // the layer whose file is seen
	Reason string `json:"reason"` // for people
}

// Get implements [store.Getter] over the store that the stack was composed
// from and the contents that composing made.
func (r *Result) Get(ctx context.Context, id store.ID) ([]byte, error) {
	if data, ok := r.made[id]; ok {
		return data, nil
	}
	return r.g.Get(ctx, id)
}

// Owner returns the index in the stack of the topmost layer that provides a
// path, or -1 when the path is not in the tree. A directory is owned by the
// topmost layer that has an entry for it, whatever other layers put into it.
func (r *Result) Owner(path string) int {
	if i, ok := r.Tree.Index(path); ok {
		return int(r.owners[i])
	}
	return -1
}

// keep holds a content that no layer has, and returns its extents.
func (r *Result) keep(data []byte) []layers.Extent {
	var extents []layers.Extent
	for len(data) > 0 {
		chunk := data[:min(len(data), store.MaxChunk)]
		id := madeID(chunk)
		r.made[id] = chunk
		extents = append(extents, layers.Extent{ID: id, Len: int64(len(chunk))})
		data = data[len(chunk):]
	}
	return extents
}

// madeID names a content that composing made. The prefix and another hash than
// the store's keep such names apart from those of the store's chunks.
func madeID(data []byte) store.ID {
	h := sha256.New()
	h.Write([]byte("satchel composed content\x00"))
	h.Write(data)
	return store.ID(h.Sum(nil))
}
