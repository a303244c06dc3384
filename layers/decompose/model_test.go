package decompose

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"satchel/layers"
)

// The model is what the kernel's overlay shows: a map from path to what is
// there, with nothing clever in it.

// overlaid lays an upper over a lower as the kernel does.
func overlaid(upper, lower layers.Tree) layers.Tree {
	files := map[string]layers.Entry{}
	carriers := map[string]string{} // path to what tells its file apart
	put := func(side string, t layers.Tree, e *layers.Entry) {
		own := *t.Resolve(e)
		carriers[e.Path] = side + own.Path
		own.Path, own.Opaque = e.Path, false
		files[e.Path] = own
	}
	for i := range lower {
		put("lower ", lower, &lower[i])
	}
	for i := range upper {
		e := &upper[i]
		below, had := files[e.Path]
		if e.Type != layers.Dir || e.Opaque || had && below.Type != layers.Dir {
			maps.DeleteFunc(files, func(p string, _ layers.Entry) bool { return under(p, e.Path) })
		}
		if e.Type == layers.Whiteout {
			delete(files, e.Path)
			continue
		}
		put("upper ", upper, e)
	}
	return relink(files, carriers)
}

// relink makes a tree in which the first name of each file carries it.
func relink(files map[string]layers.Entry, carriers map[string]string) layers.Tree {
	var out layers.Tree
	first := map[string]string{}
	for _, p := range slices.SortedFunc(maps.Keys(files), layers.ComparePaths) {
		e := files[p]
		if at, ok := first[carriers[p]]; ok && e.Type != layers.Dir {
			e = layers.Entry{Path: p, Type: layers.Hardlink, Target: at}
		} else {
			first[carriers[p]] = p
		}
		out = append(out, e)
	}
	return out
}

func under(path, dir string) bool {
	return dir == "" && path != "" || strings.HasPrefix(path, dir+"/")
}

// compare returns the first difference between two trees, the times of
// directories aside, and the links between files only if asked for.
func compare(got, want layers.Tree, links bool) string {
	paths := map[string]bool{}
	for _, t := range []layers.Tree{got, want} {
		for i := range t {
			paths[t[i].Path] = true
		}
	}
	for _, p := range slices.SortedFunc(maps.Keys(paths), layers.ComparePaths) {
		g, w := got.Find(p), want.Find(p)
		if g == nil || w == nil {
			return fmt.Sprintf("%q: got %+v, want %+v", p, g, w)
		}
		if links && g.Type != w.Type {
			return fmt.Sprintf("%q: got %+v, want %+v", p, g, w)
		}
		a, b := *got.Resolve(g), *want.Resolve(w)
		if a.Type == layers.Dir {
			a.ModTime = b.ModTime
		}
		if !a.Same(&b) {
			return fmt.Sprintf("%q: got %+v, want %+v", p, a, b)
		}
	}
	return ""
}
