package decompose

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"satchel/layers"
	"satchel/layers/compose"
	"satchel/layers/layerstest"
	"satchel/store"
)

// The trees of these tests are small and of few names, so that layers meet at
// every turn.

func drawPath(t *rapid.T) string {
	names := []string{"a", "b", "c"}
	path := rapid.SampledFrom(names).Draw(t, "name")
	for range rapid.IntRange(0, 2).Draw(t, "depth") {
		path += "/" + rapid.SampledFrom(names).Draw(t, "name")
	}
	return path
}

func drawEntry(t *rapid.T, path string, upper bool) layers.Entry {
	types := []layers.Type{layers.Regular, layers.Dir, layers.Dir, layers.Symlink}
	if upper {
		types = append(types, layers.Whiteout)
	}
	e := layers.Entry{Path: path, Type: rapid.SampledFrom(types).Draw(t, "type")}
	if e.Type == layers.Whiteout {
		return e
	}
	e.Mode = rapid.SampledFrom([]uint16{0o755, 0o700}).Draw(t, "mode")
	e.ModTime.Sec = rapid.Int64Range(1, 2).Draw(t, "time")
	switch e.Type {
	case layers.Regular:
		e.Size = rapid.Int64Range(1, 3).Draw(t, "size")
		e.Extents = []layers.Extent{{ID: store.ID{byte(e.Size)}, Len: e.Size}}
	case layers.Dir:
		e.Opaque = upper && rapid.Bool().Draw(t, "opaque")
	case layers.Symlink:
		e.Target = "x"
	}
	return e
}

// drawTree draws a tree in which every entry's directory can be one.
func drawTree(t *rapid.T, upper, parents bool) layers.Tree {
	held := map[string]layers.Entry{}
	if parents {
		held[""] = layers.Entry{Type: layers.Dir, Mode: 0o755}
	}
	for range rapid.IntRange(0, 8).Draw(t, "entries") {
		path := drawPath(t)
		e := drawEntry(t, path, upper)
		ok := true
		for dir := path; dir != "" && ok; {
			dir = parent(dir)
			above, there := held[dir]
			ok = !there || above.Type == layers.Dir
		}
		for p := range held {
			ok = ok && (e.Type == layers.Dir || !under(p, path))
		}
		if !ok {
			continue
		}
		held[path] = e
		for dir := parent(path); parents && dir != ""; dir = parent(dir) {
			if _, there := held[dir]; !there {
				held[dir] = layers.Entry{Path: dir, Type: layers.Dir, Mode: 0o755}
			}
		}
	}
	var out layers.Tree
	for _, e := range held {
		out = append(out, e)
	}
	out.Sort()
	for i := 1; i < len(out); i++ {
		a, b := &out[i-1], &out[i]
		if b.Type == layers.Regular && (a.Type == layers.Regular || a.Type == layers.Hardlink) && rapid.Bool().Draw(t, "link") {
			first := a.Path
			if a.Type == layers.Hardlink {
				first = a.Target
			}
			*b = layers.Entry{Path: b.Path, Type: layers.Hardlink, Target: first}
		}
	}
	return out
}

// A scene is a stack and a session on it.
type scene struct {
	stack []compose.Layer
	upper layers.Tree
	lower *compose.Result
	in    Input
}

func drawScene(t *rapid.T) *scene {
	s := &scene{}
	for _, kind := range layers.Kinds {
		if kind == layers.Group && rapid.Bool().Draw(t, "no group") {
			continue
		}
		tree := drawTree(t, kind != layers.OS, kind == layers.OS)
		s.stack = append(s.stack, compose.Layer{Name: string(kind), Kind: kind, Tree: tree})
	}
	s.based(t)
	s.upper = drawTree(t, true, true)
	s.session(t, drawRules(t))
	return s
}

func drawRules(t *rapid.T) Rules {
	var lines []string
	for _, kind := range rapid.Permutation([]layers.Kind{Discard, layers.Personal, layers.System, layers.Local, layers.Data}).Draw(t, "kinds") {
		for range rapid.IntRange(0, 2).Draw(t, "rules") {
			lines = append(lines, fmt.Sprintf("%s %s", kind, drawPath(t)))
		}
	}
	r, err := ParseRules("test", lines)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// based gives every layer the base that it would have had when it was made on
// what is below it now.
func (s *scene) based(t *rapid.T) {
	for i := range s.stack {
		below := composed(t, s.stack[:i]).Tree
		s.stack[i].Base = nil
		for _, e := range s.stack[i].Tree {
			if b := below.Find(e.Path); b != nil {
				own := *below.Resolve(b)
				own.Path = e.Path
				s.stack[i].Base = append(s.stack[i].Base, own)
			}
		}
	}
}

func composed(t *rapid.T, stack []compose.Layer) *compose.Result {
	r, err := compose.Compose(context.Background(), layerstest.NewStore(), stack)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// session sets up the input for an upper on the stack.
func (s *scene) session(t *rapid.T, rules Rules) {
	s.lower = composed(t, s.stack)
	s.in = Input{Upper: s.upper, Lower: s.lower.Tree, Rules: rules,
		Layers: map[layers.Kind]layers.Tree{}, Bases: map[layers.Kind]layers.Tree{}}
	for _, l := range s.stack {
		if l.Kind.Writable() {
			s.in.Layers[l.Kind], s.in.Bases[l.Kind] = l.Tree, l.Base
		}
	}
	below := map[layers.Kind]layers.Tree{}
	s.in.Below = func(kind layers.Kind, path string) *layers.Entry {
		if _, ok := below[kind]; !ok {
			n := slices.IndexFunc(s.stack, func(l compose.Layer) bool { return l.Kind == kind })
			below[kind] = composed(t, s.stack[:n]).Tree
		}
		return below[kind].Find(path)
	}
	s.in.Read = func(*layers.Entry) ([]byte, error) { return nil, nil }
}

// commit replaces the layers that changed.
func (s *scene) commit(out Output) []compose.Layer {
	stack := slices.Clone(s.stack)
	for i := range stack {
		if r, ok := out.Layers[stack[i].Kind]; ok {
			stack[i].Tree, stack[i].Base = r.Tree, r.Base
		}
	}
	return stack
}

// kept is what the guest saw, less what was discarded.
func (s *scene) kept(out Output) layers.Tree {
	var drop []Decision
	for _, d := range out.Decisions {
		if d.Kind == Discard {
			drop = append(drop, d)
		}
	}
	want := overlaid(s.upper, s.in.Lower)
	var tree layers.Tree
	for _, e := range want {
		if !slices.ContainsFunc(drop, func(d Decision) bool { return d.Path == e.Path || under(e.Path, d.Path) && hidesDir(s, d) }) {
			own := *want.Resolve(&e)
			own.Path = e.Path
			tree = append(tree, own)
		}
	}
	for _, d := range drop {
		for _, e := range s.in.Lower {
			if e.Path == d.Path || under(e.Path, d.Path) && hidesDir(s, d) {
				own := *s.in.Lower.Resolve(&e)
				own.Path = e.Path
				tree = append(tree, own)
			}
		}
	}
	tree.Sort()
	return slices.CompactFunc(tree, func(a, b layers.Entry) bool { return a.Path == b.Path })
}

// hidesDir reports whether a change took a directory of the lower away.
func hidesDir(s *scene, d Decision) bool {
	old, now := s.in.Lower.Find(d.Path), s.upper.Find(d.Path)
	return old != nil && old.Type == layers.Dir && (now == nil || now.Type != layers.Dir)
}

func TestComposingTheResultGivesWhatTheGuestSaw(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScene(t)
		out, err := Decompose(context.Background(), s.in)
		if err != nil {
			t.Fatal(err)
		}
		for kind, r := range out.Layers {
			if err := r.Tree.Check(); err != nil {
				t.Fatalf("layer %s: %v", kind, err)
			}
			if err := r.Base.Check(); err != nil {
				t.Fatalf("base of layer %s: %v", kind, err)
			}
		}
		got := composed(t, s.commit(out)).Tree
		if diff := compare(got, s.kept(out), false); diff != "" {
			t.Fatalf("after the session, %s\nlower %+v\nupper %+v\ndecisions %+v", diff, s.in.Lower, s.upper, out.Decisions)
		}
	})
}

func TestDecomposingAgainChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScene(t)
		s.in.Rules = Rules{}
		out, err := Decompose(context.Background(), s.in)
		if err != nil {
			t.Fatal(err)
		}
		s.stack = s.commit(out)
		s.session(t, s.in.Rules)
		again, err := Decompose(context.Background(), s.in)
		if err != nil {
			t.Fatal(err)
		}
		for kind, r := range again.Layers {
			before := s.in.Layers[kind]
			if diff := compare(composed(t, s.commit(again)).Tree, s.in.Lower, false); diff != "" {
				t.Fatalf("layer %s changed from %+v to %+v: %s", kind, before, r.Tree, diff)
			}
		}
	})
}

func TestEverythingGoesIntoOneLayer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScene(t)
		s.in.Into = layers.Group
		out, err := Decompose(context.Background(), s.in)
		if err != nil {
			t.Fatal(err)
		}
		if len(out.Layers) > 1 {
			t.Fatalf("got %d layers, want one", len(out.Layers))
		}
		r := out.Layers[layers.Group]
		stack := append(slices.Clone(s.stack), compose.Layer{Name: "new", Kind: layers.Group, Tree: r.Tree, Base: r.Base})
		if diff := compare(composed(t, stack).Tree, s.kept(out), false); diff != "" {
			t.Fatalf("after the session, %s\nlower %+v\nupper %+v\ndecisions %+v", diff, s.in.Lower, s.upper, out.Decisions)
		}
	})
}
