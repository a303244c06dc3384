package repo_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"satchel/layers"
	"satchel/layers/layerstest"
	"satchel/layers/manifest"
	"satchel/layers/repo"
	"satchel/store"
)

// A graph is a history in memory: versions, each after its parents.
type graph struct {
	st        *layerstest.Store
	ids       []store.ID
	times     []time.Time
	ancestors []map[int]bool // of each, itself included
}

func newGraph() *graph { return &graph{st: layerstest.NewStore()} }

func (g *graph) add(t interface{ Fatal(...any) }, at time.Time, parents ...int) int {
	n := len(g.ids)
	above := map[int]bool{n: true}
	v := layers.Version{Layer: store.LayerID{byte(n), byte(n >> 8)}, Kind: layers.Data, Time: at}
	for _, p := range parents {
		v.Parents = append(v.Parents, g.ids[p])
		for a := range g.ancestors[p] {
			above[a] = true
		}
	}
	id, err := manifest.WriteVersion(context.Background(), g.st, v)
	if err != nil {
		t.Fatal(err)
	}
	g.ids, g.times, g.ancestors = append(g.ids, id), append(g.times, at), append(g.ancestors, above)
	return n
}

// best returns all common versions of a and b that are in the history of no
// other and were made last.
func (g *graph) best(a, b int) map[store.ID]bool {
	var common []int
	for n := range g.ancestors[a] {
		if g.ancestors[b][n] {
			common = append(common, n)
		}
	}
	best := map[store.ID]bool{}
	var newest time.Time
	for _, n := range common {
		below := false
		for _, m := range common {
			below = below || m != n && g.ancestors[m][n]
		}
		switch {
		case below || len(best) > 0 && g.times[n].Before(newest):
		case len(best) > 0 && g.times[n].Equal(newest):
			best[g.ids[n]] = true
		default:
			best, newest = map[store.ID]bool{g.ids[n]: true}, g.times[n]
		}
	}
	return best
}

// TestBaseAgreesWithAModel compares with all ancestors of all versions, in
// histories with any merges and clocks.
func TestBaseAgreesWithAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := newGraph()
		skew := rapid.SampledFrom([]int{0, 2, 1000}).Draw(t, "skew")
		for n := range rapid.IntRange(1, 25).Draw(t, "versions") {
			var parents []int
			if n > 0 {
				near := max(0, n-rapid.IntRange(1, n).Draw(t, "reach"))
				parents = rapid.SliceOfNDistinct(rapid.IntRange(near, n-1), 0, 3, rapid.ID[int]).Draw(t, "parents")
			}
			g.add(t, time.Unix(int64(n+rapid.IntRange(-skew, skew).Draw(t, "clock")), 0), parents...)
		}
		a := rapid.IntRange(0, len(g.ids)-1).Draw(t, "a")
		b := rapid.IntRange(0, len(g.ids)-1).Draw(t, "b")
		got, err := repo.Base(context.Background(), g.st, g.ids[a], g.ids[b])
		if err != nil {
			t.Fatal(err)
		}
		if want := g.best(a, b); !want[got] && (len(want) > 0 || !got.IsZero()) {
			t.Fatalf("base of %d and %d is %s, want one of %v", a, b, got.Short(), want)
		}
		if back, err := repo.Base(context.Background(), g.st, g.ids[b], g.ids[a]); err != nil || back != got {
			t.Fatalf("the other way round: %s, %v; want %s", back.Short(), err, got.Short())
		}
		descends, err := repo.Descends(context.Background(), g.st, g.ids[a], g.ids[b])
		if err != nil || descends != g.ancestors[a][b] {
			t.Fatalf("%d descends from %d: %v, %v", a, b, descends, err)
		}
	})
}

func TestBaseOfNothing(t *testing.T) {
	g := newGraph()
	id := g.ids[g.add(t, time.Unix(1, 0))]
	for _, c := range []struct {
		a, b, base store.ID
		descends   bool
	}{
		{id, id, id, true}, {id, store.ID{}, store.ID{}, true}, {store.ID{}, id, store.ID{}, false}, {store.ID{}, store.ID{}, store.ID{}, true},
	} {
		if got, err := repo.Base(t.Context(), g.st, c.a, c.b); err != nil || got != c.base {
			t.Errorf("base of %s and %s: %s, %v", c.a.Short(), c.b.Short(), got.Short(), err)
		}
		if got, err := repo.Descends(t.Context(), g.st, c.a, c.b); err != nil || got != c.descends {
			t.Errorf("%s descends from %s: %v, %v", c.a.Short(), c.b.Short(), got, err)
		}
	}
	if _, err := repo.Base(t.Context(), g.st, id, store.ID{7}); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("a version that is not there: error %v, want ErrNotExist", err)
	}
}

// linear returns a history of n versions in a row.
func linear(t testing.TB, n int) *graph {
	g := newGraph()
	for i := range n {
		v := layers.Version{Kind: layers.Data, Time: time.Unix(int64(i), 0)}
		if i > 0 {
			v.Parents = g.ids[i-1:]
		}
		id, err := manifest.WriteVersion(t.Context(), g.st, v)
		if err != nil {
			t.Fatal(err)
		}
		g.ids = append(g.ids, id)
	}
	return g
}

// TestRecentBaseReadsFewRecords counts what is read of a long history.
func TestRecentBaseReadsFewRecords(t *testing.T) {
	g := linear(t, 2000)
	last := len(g.ids) - 1
	before := g.st.Gets()
	if got, err := repo.Base(t.Context(), g.st, g.ids[last], g.ids[last-3]); err != nil || got != g.ids[last-3] {
		t.Errorf("base %s, %v", got.Short(), err)
	}
	if ok, err := repo.Descends(t.Context(), g.st, g.ids[last-3], g.ids[last]); err != nil || ok {
		t.Errorf("descends: %v, %v", ok, err)
	}
	if n := g.st.Gets() - before; n > 12 {
		t.Errorf("%d records were read, want a few", n)
	}
}

func BenchmarkBase(b *testing.B) {
	g := linear(b, 10_000)
	last := len(g.ids) - 1
	for name, base := range map[string]int{"recent": last - 3, "first": 0} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if got, err := repo.Base(b.Context(), g.st, g.ids[last], g.ids[base]); err != nil || got != g.ids[base] {
					b.Fatal(got, err)
				}
			}
		})
	}
}
