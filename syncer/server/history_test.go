package server

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"satchel/layers"
	"satchel/layers/layerstest"
	"satchel/layers/manifest"
	"satchel/store"
)

// TestBeyond compares with a model: with right clocks just the difference of
// the two histories, newest first, and with wrong ones at least that.
func TestBeyond(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ctx, st := context.Background(), layerstest.NewStore()
		right := rapid.Bool().Draw(t, "right clocks")
		var ids []store.ID
		own, history := &reached{}, map[store.ID]map[store.ID]bool{}
		set := map[prefix]struct{}{}
		for i := range rapid.IntRange(1, 20).Draw(t, "versions") {
			at := i
			if !right {
				at = rapid.IntRange(0, 5).Draw(t, "time")
			}
			v := layers.Version{Kind: layers.Data, Time: time.Unix(int64(at), 0), Message: fmt.Sprint(i)}
			past := map[store.ID]bool{}
			for range rapid.IntRange(0, min(i, 3)).Draw(t, "parents") {
				p := rapid.SampledFrom(ids).Draw(t, "parent")
				v.Parents = append(v.Parents, p)
				for id := range history[p] {
					past[id] = true
				}
			}
			id, err := manifest.WriteVersion(ctx, st, v)
			if err != nil {
				t.Fatal(err)
			}
			past[id] = true
			ids, history[id], set[prefixOf(id)] = append(ids, id), past, struct{}{}
		}
		own.versions = own.versions.with(set)
		want := rapid.SampledFrom(ids).Draw(t, "want")
		have := rapid.SliceOfN(rapid.SampledFrom(append(ids, store.ID{1})), 0, 4).Draw(t, "have")
		got, err := beyond(ctx, st, own, want, have, len(ids))
		if err != nil {
			t.Fatal(err)
		}
		var model []store.ID
		for _, id := range slices.Backward(ids) {
			if history[want][id] && !slices.ContainsFunc(have, func(h store.ID) bool { return history[h][id] }) {
				model = append(model, id)
			}
		}
		if right && !slices.Equal(got, model) {
			t.Fatalf("got %d versions, want %d", len(got), len(model))
		}
		for _, id := range model {
			if !slices.Contains(got, id) {
				t.Fatal("a version is missing")
			}
		}
		for _, id := range got {
			if !history[want][id] {
				t.Fatal("a version that was not asked for")
			}
		}
		if some, err := beyond(ctx, st, own, want, have, 2); err != nil || right && !slices.Equal(some, model[:min(2, len(model))]) {
			t.Fatalf("of two: %d, %v", len(some), err)
		}
	})
}
