package decompose

import (
	"context"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"satchel/layers"
)

// TestManySessionsOnChangingSystems plays the life of a workspace: sessions one
// after another, with the system below replaced and layers emptied in between.
// After each session the layers compose to what its guest saw, and a session in
// which nothing happens changes nothing.
func TestManySessionsOnChangingSystems(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScene(t)
		rules := s.in.Rules
		for range rapid.IntRange(2, 4).Draw(t, "sessions") {
			s.live(t, rules)
			switch rapid.IntRange(0, 2).Draw(t, "then") {
			case 0:
				s.stack[0].Tree = drawTree(t, false, true)
			case 1:
				i := rapid.IntRange(1, len(s.stack)-1).Draw(t, "reset")
				s.stack[i].Tree, s.stack[i].Base = nil, nil
			}
			s.upper = drawTree(t, true, true)
			s.session(t, rules)
		}
	})
}

// live runs a session to its end and commits what it did.
func (s *scene) live(t *rapid.T, rules Rules) {
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
		if p := baseless(r); p != "" {
			t.Fatalf("layer %s: its base has %q, which its tree has not", kind, p)
		}
	}
	want := s.kept(out)
	before := s.stack
	s.stack = s.commit(out)
	if diff := compare(composed(t, s.stack).Tree, want, false); diff != "" {
		t.Fatalf("after the session, %s\nlower %+v\nupper %+v\nstack before %+v\nafter %+v\ndecisions %+v",
			diff, s.in.Lower, s.upper, before, s.stack, out.Decisions)
	}
	s.upper = nil
	s.session(t, rules)
	again, err := Decompose(context.Background(), s.in)
	if err != nil {
		t.Fatal(err)
	}
	if len(again.Layers)+len(again.Decisions) > 0 {
		t.Fatalf("a session without changes made %+v", again)
	}
}

// baseless returns a path of a base that is not one of its tree, or "".
func baseless(r Result) string {
	i := slices.IndexFunc(r.Base, func(e layers.Entry) bool { return r.Tree.Find(e.Path) == nil })
	if i < 0 {
		return ""
	}
	return r.Base[i].Path
}
