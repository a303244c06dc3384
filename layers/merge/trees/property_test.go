package trees_test

import (
	"fmt"
	"regexp"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"satchel/layers"
	"satchel/layers/merge/trees"
)

// contents returns what regular files and symbolic links hold.
func (s *scene) contents(tree layers.Tree) []string {
	var all []string
	for i := range tree {
		switch e := &tree[i]; e.Type {
		case layers.Regular:
			all = append(all, string(s.content(e)))
		case layers.Symlink:
			all = append(all, "-> "+e.Target)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func (s *scene) merge(in trees.Input) trees.Output {
	s.t.Helper()
	out, err := trees.Merge(s.t.Context(), in)
	if err != nil {
		s.t.Fatalf("%v\n%s", err, s.tell(in, out))
	}
	return out
}

func (s *scene) tell(in trees.Input, out trees.Output) string {
	return fmt.Sprintf("ancestor\n%sours\n%stheirs\n%smerged\n%s%v", s.text(in.Ancestor.Tree), s.text(in.Ours.Tree), s.text(in.Theirs.Tree), s.text(out.Tree), out.Conflicts)
}

func TestMergeOfOneSide(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := newScene(t)
		am, om, _ := drawModels(rt)
		a, o := am.side(s), om.side(s)
		for name, in := range map[string]trees.Input{"a o o": s.input(a, o, o), "a o a": s.input(a, o, a), "a a o": s.input(a, a, o)} {
			out := s.merge(in)
			got := trees.Side{Tree: out.Tree, Base: out.Base}
			if diff := cmp.Diff(o, got, cmpopts.EquateEmpty()); diff != "" {
				rt.Fatalf("%s: %s\n%s", name, diff, s.tell(in, out))
			}
			if len(out.Conflicts) > 0 {
				rt.Fatalf("%s: conflicts\n%s", name, s.tell(in, out))
			}
		}
	})
}

// tokens returns how many files of a tree have each token: in what they hold, or
// as the name of an attribute.
func (s *scene) tokens(tree layers.Tree) map[string]int {
	all := map[string]int{}
	for i := range tree {
		e := &tree[i]
		text := e.Target
		switch e.Type {
		case layers.Dir, layers.Hardlink:
			continue
		case layers.Regular:
			text = string(s.content(e))
		}
		for _, token := range token.FindAllString(text, -1) {
			all[token]++
		}
		for _, x := range e.Xattrs {
			all[x.Name+" as an attribute"]++
		}
	}
	return all
}

var token = regexp.MustCompile("<[a-z][0-9]+>")

// hides reports whether a layer hides what lower ones have at a path.
func hides(tree layers.Tree, path string) bool {
	e := tree.Find(path)
	if e != nil && (e.Type != layers.Dir || e.Opaque) {
		return true
	}
	return path != "" && hides(tree, parent(path))
}

func TestMergeLosesNothing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := newScene(t)
		a, o, u := drawModels(rt)
		in := s.input(a.side(s), o.side(s), u.side(s))
		out := s.merge(in)
		for _, lost := range s.lost(in, out.Tree) {
			rt.Errorf("lost: %s", lost)
		}
		if rt.Failed() {
			rt.Fatal(s.tell(in, out))
		}
		if err := out.Tree.Check(); err != nil {
			rt.Fatal(err)
		}
		wellFormed(rt, out)
		back := in
		back.Ours, back.Theirs = in.Theirs, in.Ours
		other := s.merge(back)
		if diff := cmp.Diff(s.contents(out.Tree), s.contents(other.Tree)); diff != "" {
			rt.Fatalf("the other way round: %s\n%s\n%s", diff, s.tell(in, out), s.tell(back, other))
		}
		if again := s.merge(in); cmp.Diff(out, again) != "" {
			rt.Fatal("merged differently the second time")
		}
	})
}

// lost lists what sides wrote, and what no side took out, that is not in the
// result.
func (s *scene) lost(in trees.Input, out layers.Tree) []string {
	var all []string
	was, ours, theirs := s.tokens(in.Ancestor.Tree), s.tokens(in.Ours.Tree), s.tokens(in.Theirs.Tree)
	is := s.tokens(out)
	for token, n := range was {
		if ours[token] >= n && theirs[token] >= n && is[token] == 0 {
			all = append(all, token+", which both sides have")
		}
	}
	for _, side := range []map[string]int{ours, theirs} {
		for token := range side {
			if was[token] == 0 && is[token] == 0 {
				all = append(all, token)
			}
		}
	}
	for _, sides := range [][2]trees.Side{{in.Ours, in.Theirs}, {in.Theirs, in.Ours}} {
		all = append(all, lostInDirs(in.Ancestor.Tree, sides[0].Tree, sides[1].Tree, out)...)
		all = append(all, bared(in.Ancestor.Tree, sides[0], sides[1].Tree, out)...)
	}
	slices.Sort(all)
	return all
}

// bared lists the paths at which a side has a file over a lower one, which the
// ancestor and the other side let show, and where that shows again.
func bared(was layers.Tree, side trees.Side, other, out layers.Tree) []string {
	var all []string
	for i := range side.Base {
		p := side.Base[i].Path
		show := !hides(was, p) && !hides(other, p) && other.Find(p) == nil && len(other.Under(p)) == 0
		if show && side.Tree.Find(p).Type != layers.Dir && !hides(out, p) {
			all = append(all, "the file over the lower "+p)
		}
	}
	return all
}

// lostInDirs lists what a side wrote that is no file: whiteouts, and the
// attributes of directories. Those may go with a directory that the other side
// removed.
func lostInDirs(was, side, other, out layers.Tree) []string {
	var all []string
	attributes := map[string]bool{}
	for i := range out {
		for _, x := range out[i].Xattrs {
			attributes[x.Name] = true
		}
	}
	for i := range side {
		e := &side[i]
		before, there := was.Find(e.Path), other.Find(e.Path)
		switch {
		case e.Type == layers.Whiteout && (before == nil || before.Type != layers.Whiteout):
			if !hides(out, e.Path) {
				all = append(all, "whiteout of "+e.Path)
			}
		case e.Type == layers.Dir && (before == nil || before.Type != layers.Dir || there != nil && there.Type == layers.Dir):
			if there != nil && there.Type == layers.Whiteout && !e.Opaque {
				continue // the same as removed
			}
			hid := before != nil && (before.Opaque || before.Type == layers.Whiteout)
			if e.Opaque && !hid && !hides(out, e.Path) {
				all = append(all, "opacity of "+e.Path)
			}
			for _, x := range e.Xattrs {
				if (before == nil || !slices.ContainsFunc(before.Xattrs, func(y layers.Xattr) bool { return y.Name == x.Name })) && !attributes[x.Name] {
					all = append(all, x.Name+" of directory "+e.Path)
				}
			}
		}
	}
	return all
}

// A directory that one side moves and what the other one does in it make no
// difference to each other.
func TestMergeFollowsDirs(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := newScene(t)
		a := model{files: map[string]*inode{}, base: map[string]string{}}
		path := func() string {
			return "d/" + rapid.SampledFrom([]string{"", "sub/", "sub/x/"}).Draw(rt, "dir") + rapid.SampledFrom([]string{"f", "g", "h.txt"}).Draw(rt, "name")
		}
		edit := func(m model, side string) {
			for i := range rapid.IntRange(1, 6).Draw(rt, side) {
				token := fmt.Sprintf("<%s%d>", side, i)
				p := path()
				n := m.files[p]
				if dir := parent(p); n != nil && rapid.Bool().Draw(rt, "the directory") {
					if m.files[dir] == nil {
						m.files[dir] = &inode{kind: layers.Dir, mode: 0o755}
					}
					n = m.files[dir]
				}
				switch {
				case n == nil:
					m.files[p] = &inode{kind: layers.Regular, mode: 0o644, text: newText(rt, token)}
				case n.kind == layers.Dir || rapid.Bool().Draw(rt, "attributes"):
					n.change(rt, token)
				default:
					n.text += token + "\n" // empty files are not followed
				}
			}
		}
		edit(a, "a")
		o, u := a.clone(), a.clone()
		edit(u, "t")
		to := rapid.SampledFrom([]string{"e", "e/d", "a/b/c"}).Draw(rt, "to")
		o.move("d", to)
		in := s.input(a.side(s), o.side(s), u.side(s))
		u.move("d", to)
		back := in
		back.Ours, back.Theirs = in.Theirs, in.Ours
		for _, in := range []trees.Input{in, back} {
			out := s.merge(in)
			if diff := cmp.Diff(u.side(s).Tree, out.Tree); diff != "" {
				rt.Fatalf("%s\n%s", diff, s.tell(in, out))
			}
		}
	})
}

// wellFormed checks what compose demands beyond the rules of trees.
func wellFormed(t *rapid.T, out trees.Output) {
	for i := range out.Tree {
		for dir := parent(out.Tree[i].Path); dir != ""; dir = parent(dir) {
			if e := out.Tree.Find(dir); e != nil && e.Type != layers.Dir {
				t.Fatalf("%s lies under a %s", out.Tree[i].Path, e.Type)
			}
		}
	}
	for i := range out.Base {
		if out.Tree.Find(out.Base[i].Path) == nil {
			t.Fatalf("the base has %s, the tree has not", out.Base[i].Path)
		}
	}
}
