package session

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"satchel/layers"
	"satchel/layers/workspace"
)

// Collecting never takes what an import or a capture is about to need, not even
// when it was garbage a moment ago.
func TestCollectMeanwhile(t *testing.T) {
	h := newHouse(t)
	files := map[string]string{}
	for i := range 40 {
		noise := make([]byte, 100_000)
		for j := range noise {
			noise[j] = byte(rand.Uint32())
		}
		files[fmt.Sprint("home/ana/", i)] = string(noise)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		for {
			if _, err := h.Store.GC(ctx, h.Repo.Walker()); err != nil {
				ended <- err
				return
			}
		}
	}()
	image := h.disk(files)
	for round := range 5 {
		_, err := h.Repo.Create(t.Context(), fmt.Sprint("import", round))
		must(t, err)
		h.commit(fmt.Sprint("import", round), layers.Data, files)
		h.leave(image)
		h.settled()
		for path, content := range files {
			h.reads("d", path, content)
		}
		// All of it is garbage again, and is needed again in the next round.
		for _, name := range []string{fmt.Sprint("import", round), "d"} {
			head, err := h.Store.Heads().Lookup(t.Context(), name)
			must(t, err)
			must(t, h.Store.Heads().Remove(t.Context(), head.Layer, head.Version))
		}
		head, err := h.Repo.Create(t.Context(), "d")
		must(t, err)
		must(t, h.Workspaces.Update("ana", func(d *workspace.Definition) error { d.Data.ID = head.Layer; return nil }))
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("gc: %v", err)
	}
	result, err := h.Store.Verify(t.Context(), h.Repo.Walker(), nil)
	must(t, errors.Join(err, result.Err()))
}
