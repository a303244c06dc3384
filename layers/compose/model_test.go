package compose_test

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"satchel/layers"
	"satchel/layers/compose"
)

// A model is a composed tree kept the plain way: a map that layers are applied
// to one after another, lowest first.
type model map[string]*node

type node struct {
	entry    layers.Entry // no hard link; Path and extents as in its layer
	file     string       // the file's identity: layer and first path
	explicit bool         // of a directory: a layer has an entry for it
}

func (m model) remove(at string) {
	for p := range m {
		if p == at || strings.HasPrefix(p, at+"/") || at == "" {
			delete(m, p)
		}
	}
}

// apply lays a layer over the model.
func (m model) apply(index int, l compose.Layer) {
	dirs := map[string]*layers.Entry{} // what the layer provides; nil is implied
	for i := range l.Tree {
		e := &l.Tree[i]
		if e.Type == layers.Dir {
			dirs[e.Path] = e
		}
		for p := e.Path; p != "" && e.Type != layers.Whiteout; {
			if p = parent(p); dirs[p] == nil {
				dirs[p] = nil
			}
		}
	}
	for i := range l.Tree {
		if e := &l.Tree[i]; e.Type == layers.Whiteout {
			m.remove(e.Path)
		}
	}
	for p, e := range dirs {
		if e != nil && e.Opaque {
			m.remove(p)
		}
	}
	for p, e := range dirs {
		m.directory(p, e, l.Base.Find(p))
	}
	for i := range l.Tree {
		if e := &l.Tree[i]; e.Type != layers.Dir && e.Type != layers.Whiteout {
			m.remove(e.Path)
			first := l.Tree.Resolve(e)
			m[e.Path] = &node{entry: *first, file: fmt.Sprint(index, first.Path)}
		}
	}
}

func (m model) directory(p string, e, base *layers.Entry) {
	n := m[p]
	if n == nil || n.entry.Type != layers.Dir {
		n = &node{entry: layers.Entry{Type: layers.Dir, Mode: 0o755}}
		m[p] = n
	}
	if e == nil {
		return
	}
	old := n.entry
	n.entry = *e
	if n.explicit && base != nil && base.Type == layers.Dir {
		if e.Mode == base.Mode {
			n.entry.Mode = old.Mode
		}
		if e.UID == base.UID {
			n.entry.UID = old.UID
		}
		if e.ModTime == base.ModTime {
			n.entry.ModTime = old.ModTime
		}
	}
	n.explicit = true
}

func parent(p string) string {
	if p = path.Dir(p); p == "." {
		return ""
	}
	return p
}

// tree returns the model as a composed tree.
func (m model) tree() layers.Tree {
	var t layers.Tree
	for p, n := range m {
		e := n.entry
		e.Path, e.Opaque = p, false
		t = append(t, e)
	}
	t.Sort()
	first := map[string]string{}
	for i := range t {
		e := &t[i]
		id := m[e.Path].file
		if carrier, ok := first[id]; ok && id != "" {
			*e = layers.Entry{Path: e.Path, Type: layers.Hardlink, Target: carrier}
		}
		if _, ok := first[id]; !ok {
			first[id] = e.Path
		}
	}
	for i := range slices.Backward(t) { // children before parents
		e := &t[i]
		if n := m[e.Path]; e.Type == layers.Dir && !n.explicit {
			e.ModTime = layers.Time{}
			for j := range t {
				if c := &t[j]; c.Path != "" && parent(c.Path) == e.Path && c.ModTime.Sec > e.ModTime.Sec {
					e.ModTime = c.ModTime
				}
			}
		}
	}
	return t
}

// drawTree makes a random tree of few names, so that layers meet often. With
// parents, every entry has all its directories.
func drawTree(t *rapid.T, c chunks, label string, parents bool) layers.Tree {
	entries := map[string]layers.Entry{}
	var files []string
	for range rapid.IntRange(0, 12).Draw(t, label+" entries") {
		p := strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "b-", "c"}), 1, 3).Draw(t, "path"), "/")
		e := layers.Entry{Path: p, ModTime: layers.Time{Sec: rapid.Int64Range(1, 9).Draw(t, "time")}}
		e.UID = uint32(rapid.IntRange(0, 2).Draw(t, "uid"))
		e.Mode = rapid.SampledFrom([]uint16{0o700, 0o711, 0o755}).Draw(t, "mode")
		e.Type = rapid.SampledFrom([]layers.Type{layers.Dir, layers.Dir, layers.Regular, layers.Regular, layers.Symlink,
			layers.Fifo, layers.Hardlink, layers.Whiteout}).Draw(t, "type")
		switch e.Type {
		case layers.Dir:
			e.Opaque = rapid.IntRange(0, 3).Draw(t, "opaque") == 0
		case layers.Regular:
			text := rapid.SampledFrom([]string{"", "x", "y", "z"}).Draw(t, "text")
			e.Extents, e.Size = c.put(text), int64(len(text))
		case layers.Symlink:
			e.Target, e.Mode = rapid.SampledFrom([]string{"a", "b/c"}).Draw(t, "target"), 0o777
		case layers.Hardlink:
			if len(files) == 0 {
				continue
			}
			target := rapid.SampledFrom(files).Draw(t, "link")
			e = layers.Entry{Path: p, Type: layers.Hardlink, Target: target}
		case layers.Whiteout:
			e = layers.Entry{Path: p, Type: layers.Whiteout}
		}
		if _, ok := entries[p]; !ok {
			entries[p] = e
			if e.Type == layers.Regular || e.Type == layers.Fifo {
				files = append(files, p)
			}
		}
	}
	return valid(entries, parents)
}

// valid makes a tree of entries, without those that break a rule.
func valid(entries map[string]layers.Entry, parents bool) layers.Tree {
	var t layers.Tree
	fits := func(p string) bool {
		for d := parent(p); d != ""; d = parent(d) {
			if e, ok := entries[d]; ok && e.Type != layers.Dir {
				return false
			}
		}
		return true
	}
	have := map[string]bool{}
	for p, e := range entries {
		target, ok := entries[e.Target]
		if !fits(p) || e.Type == layers.Hardlink && (!ok || !fits(e.Target) || target.Type == layers.Hardlink ||
			layers.ComparePaths(e.Target, p) >= 0) {
			continue
		}
		t, have[p] = append(t, e), true
	}
	for _, e := range slices.Clone(t) {
		for d := e.Path; parents && d != ""; {
			if d = parent(d); !have[d] {
				have[d] = true
				t = append(t, layers.Entry{Path: d, Type: layers.Dir, Mode: 0o750, ModTime: layers.Time{Sec: 3}})
			}
		}
	}
	t.Sort()
	return t
}

func drawStack(t *rapid.T, c chunks, parents bool) []compose.Layer {
	var stack []compose.Layer
	for i := range rapid.IntRange(0, 4).Draw(t, "layers") {
		stack = append(stack, compose.Layer{Name: names[i], Tree: drawTree(t, c, names[i], parents)})
	}
	return stack
}

func TestComposeAgreesWithTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := chunks{}
		stack := drawStack(t, c, rapid.Bool().Draw(t, "parents"))
		m := model{"": {entry: layers.Entry{Type: layers.Dir, Mode: 0o755}}}
		for i := range stack {
			for _, e := range drawTree(t, c, "base", false) {
				if e.Type == layers.Dir { // files' bases have tests of their own
					stack[i].Base = append(stack[i].Base, e)
				}
			}
			m.apply(i, stack[i])
		}
		r, err := compose.Compose(context.Background(), c, stack)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Tree.Check(); err != nil {
			t.Fatal(err)
		}
		want := m.tree()
		if d := cmp.Diff(want, r.Tree); d != "" {
			t.Fatalf("(-want +got):\n%s", d)
		}
		for _, e := range want {
			if got, want := r.Owner(e.Path), owner(stack, e); got != want {
				t.Fatalf("owner of %q is %d, want %d", e.Path, got, want)
			}
		}
	})
}

// owner is the topmost layer with an entry for a path of the result; for a
// directory that is implied everywhere, the topmost with something below it.
func owner(stack []compose.Layer, e layers.Entry) int {
	implied := -1
	for i, l := range slices.Backward(stack) {
		at := l.Tree.Find(e.Path)
		if at != nil && at.Type != layers.Whiteout && (e.Type == layers.Dir) == (at.Type == layers.Dir) {
			return i
		}
		if implied < 0 && slices.ContainsFunc(l.Tree.Under(e.Path), func(e layers.Entry) bool { return e.Type != layers.Whiteout }) {
			implied = i
		}
		for p := e.Path; p != ""; p = parent(p) {
			if up := l.Tree.Find(p); up != nil && (up.Type != layers.Dir || up.Opaque) {
				return implied // the layer hides all below
			}
		}
		if up := l.Tree.Find(""); up != nil && up.Opaque {
			return implied
		}
	}
	return implied
}
