package exchange

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"satchel/layers"
	"satchel/layers/repo"
	"satchel/store"
)

// BenchmarkContents fetches 12,000 files of 500 MB in all from a store on the
// same disk: a server without a network.
func BenchmarkContents(b *testing.B) {
	ctx := b.Context()
	dir := memoryDir(b)
	server := newHome(b, dir, nil)
	w := server.writer(b)
	r := rand.New(rand.NewPCG(1, 2))
	words := make([]byte, 1<<20)
	for i := range words {
		words[i] = "etaoin shrdlu"[r.IntN(13)]
	}
	tree := layers.Tree{{Type: layers.Dir, Mode: 0o755}}
	for i := range 12_000 {
		size := 1 + int(r.ExpFloat64()*42_000)
		e := layers.Entry{Path: fmt.Sprintf("dir%03d/file%05d", i/100, i), Type: layers.Regular, Mode: 0o644, Size: int64(size)}
		for size > 0 {
			n := min(size, 64<<10)
			data := append([]byte(fmt.Sprint(i, size)), words[r.IntN(len(words)-n):][:n]...)
			for j := range len(data) / 3 {
				data[3*j] = byte(r.Uint32())
			}
			e.Extents = append(e.Extents, layers.Extent{ID: must(w.Put(ctx, data))(b)[0], Len: int64(len(data))})
			size -= n
		}
		e.Size = 0
		for _, x := range e.Extents {
			e.Size += x.Len
		}
		tree = append(tree, e)
	}
	head := must(server.Heads().Head(ctx, server.layer))(b)
	version := must(repo.New(server.Store, "test").Commit(ctx, w, repo.Commit{Head: head, Kind: layers.Data, Tree: tree}))(b)[0]
	w.Close()
	size := must(Unsent(ctx, server.Store, store.ID{}, version))(b)
	b.SetBytes(size.Bytes)
	for b.Loop() {
		h := newHome(b, dir, server)
		w := h.writer(b)
		remote := anything{newPeer(server, 1)}
		must(History(ctx, h.Store, w, remote, h.layer, version, nil, Options{}))(b)
		if err := Contents(ctx, h.Store, w, remote, h.layer, version, nil, Options{}); err != nil {
			b.Fatal(err)
		}
		w.Close()
		h.Close()
	}
}
