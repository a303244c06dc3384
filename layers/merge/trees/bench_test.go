package trees_test

import (
	"fmt"
	"slices"
	"testing"

	"satchel/layers"
	"satchel/layers/merge/trees"
)

// bigTree returns a tree of n files, in directories of a hundred.
func bigTree(s *scene, n int) layers.Tree {
	var t layers.Tree
	for i := range n {
		dir := fmt.Sprintf("usr/share/package-%03d/directory-%03d", i/10_000, i/100)
		if i%100 == 0 {
			t = append(t, layers.Entry{Path: dir, Type: layers.Dir, Mode: 0o755})
		}
		e := layers.Entry{Path: fmt.Sprintf("%s/file-%06d.txt", dir, i), Type: layers.Regular, Mode: 0o644}
		s.mustPut(&e, fmt.Sprintln("one\ntwo\nthree", i, "\nfour\nfive"))
		t = append(t, e)
	}
	t.Sort()
	return t
}

func BenchmarkMerge(b *testing.B) {
	for _, n := range []int{4000, 100_000} {
		s := newScene(b)
		a := bigTree(s, n)
		o, t := slices.Clone(a), slices.Clone(a)
		for i := range 50 { // both edit texts, ours moves a directory as well
			s.mustPut(&o[10*i+1], fmt.Sprintln("ONE\ntwo\nthree", i, "\nfour\nfive"))
			s.mustPut(&t[10*i+2], fmt.Sprintln("one\ntwo\nthree", i, "\nfour\nFIVE"))
		}
		for i := len(o) - 150; i < len(o)-50; i++ {
			o[i].Path = "moved/" + o[i].Path
		}
		o.Sort()
		in := s.input(trees.Side{Tree: a, Base: a}, trees.Side{Tree: o, Base: a}, trees.Side{Tree: t, Base: a})
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := trees.Merge(b.Context(), in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
