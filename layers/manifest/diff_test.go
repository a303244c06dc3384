package manifest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"satchel/layers"
	"satchel/layers/layerstest"
	"satchel/layers/manifest"
	"satchel/store"
)

// apply makes the changes to a tree.
func apply(t rapidOrTesting, from layers.Tree, st *layerstest.Store, a, b layers.Root) layers.Tree {
	t.Helper()
	all := map[string]layers.Entry{}
	for _, e := range from {
		all[e.Path] = e
	}
	last := ""
	first := true
	for c, err := range manifest.Diff(context.Background(), st, a, b) {
		if err != nil {
			t.Fatalf("compare: %v", err)
		}
		if !first && layers.ComparePaths(last, c.Path) >= 0 {
			t.Fatalf("change of %q comes after %q", c.Path, last)
		}
		last, first = c.Path, false
		if was, ok := all[c.Path]; ok != (c.From != nil) || ok && !was.Same(c.From) {
			t.Fatalf("change of %q from %v, want %v", c.Path, c.From, was)
		}
		if c.To == nil {
			delete(all, c.Path)
		} else {
			all[c.Path] = *c.To
		}
	}
	tree := layers.Tree{}
	for _, e := range all {
		tree = append(tree, e)
	}
	tree.Sort()
	return tree
}

func TestDiffAppliedToOneGivesTheOther(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		st := layerstest.NewStore()
		from := layerstest.RandomTree(60).Draw(t, "from")
		to := layerstest.Edit(from).Draw(t, "to")
		if rapid.IntRange(0, 3).Draw(t, "unrelated") == 0 {
			to = layerstest.RandomTree(60).Draw(t, "other")
		}
		var roots [2]layers.Root
		for i, tree := range []layers.Tree{from, to} {
			root, err := manifest.WriteTree(context.Background(), st, tree)
			if err != nil {
				t.Fatal(err)
			}
			roots[i] = root
		}
		sameTrees(t, to, apply(t, from, st, roots[0], roots[1]))
	})
}

func TestDiffOfLargeTreesReadsWhatDiffers(t *testing.T) {
	st := layerstest.NewStore()
	a := files(30_000)
	ra := writeTree(t, st, a)
	nodes := len(st.IDs())
	edits := map[string]func(layers.Tree) layers.Tree{
		"nothing": func(t layers.Tree) layers.Tree { return t },
		"attribute": func(t layers.Tree) layers.Tree {
			t[20_000].UID = 1
			return t
		},
		"first and last": func(t layers.Tree) layers.Tree {
			t[0].UID, t[len(t)-1].UID = 1, 1
			return t
		},
		"insert": func(t layers.Tree) layers.Tree {
			return slices.Insert(t, 10_000, layers.Entry{Path: t[9_999].Path + "+", Type: layers.Dir})
		},
		"remove a directory": func(t layers.Tree) layers.Tree {
			return slices.Delete(t, 1+101*7, 1+101*8)
		},
	}
	for name, edit := range edits {
		t.Run(name, func(t *testing.T) {
			b := edit(slices.Clone(a))
			rb := writeTree(t, st, b)
			before := st.Gets()
			got := apply(t, a, st, ra, rb)
			if n := st.Gets() - before; n > 30 || ra == rb && n > 0 {
				t.Errorf("read %d nodes of trees of %d", n, nodes)
			}
			sameTrees(t, b, got)
		})
	}
}

func TestDiffBetweenTreesOfDifferentHeight(t *testing.T) {
	st := layerstest.NewStore()
	for _, n := range [][2]int{{0, 500}, {1, 5_000}, {5_000, 0}, {5_000, 3}, {20, 100_000}} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			a, b := files(n[0]), files(n[1])
			if n[0] == 0 {
				a = nil
			}
			sameTrees(t, b, apply(t, a, st, writeTree(t, st, a), writeTree(t, st, b)))
		})
	}
}

func TestDiffEndsAfterAnError(t *testing.T) {
	st := layerstest.NewStore()
	root := writeTree(t, st, files(3))
	n := 0
	for _, err := range manifest.Diff(t.Context(), st, layers.Root{ID: store.ID{7}, Entries: 5}, root) {
		if !errors.Is(err, store.ErrNotExist) {
			t.Errorf("error %v, want ErrNotExist", err)
		}
		n++
	}
	if n != 1 {
		t.Errorf("%d results, want one error", n)
	}
}
