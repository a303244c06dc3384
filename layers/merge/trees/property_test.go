package trees_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"satchel/layers"
	"satchel/layers/merge/trees"
)

// A model is a tree that is edited as people and programs do. Each edit of a
// content leaves a token of its own in it.
type model struct {
	files map[string]*inode // by path
	base  map[string]string // content that a path hid
}

type inode struct {
	kind   layers.Type
	opaque bool
	text   string
	mode   uint16
	time   int64
}

func (m model) clone() model {
	same := map[*inode]*inode{}
	c := model{files: map[string]*inode{}, base: maps.Clone(m.base)}
	for p, n := range m.files {
		if same[n] == nil {
			own := *n
			same[n] = &own
		}
		c.files[p] = same[n]
	}
	return c
}

func (m model) paths() []string { return slices.Sorted(maps.Keys(m.files)) }

func parent(p string) string {
	dir, _ := layers.SplitPath(p)
	return dir
}

// room reports whether something may be at p: nothing on the way is a file.
func (m model) room(p string) bool {
	for p = parent(p); p != ""; p = parent(p) {
		if n := m.files[p]; n != nil && n.kind != layers.Dir {
			return false
		}
	}
	return true
}

func (m model) remove(p string) {
	for q := range m.files {
		if q == p || strings.HasPrefix(q, p+"/") {
			delete(m.files, q)
			delete(m.base, q)
		}
	}
}

// move moves what is at p, or in the directory p, to q.
func (m model) move(p, q string) {
	if p == q || !m.room(q) || strings.HasPrefix(q, p+"/") || strings.HasPrefix(p, q+"/") {
		return
	}
	moved := map[string]*inode{}
	for r, n := range m.files {
		if (r == p || strings.HasPrefix(r, p+"/")) && n.kind != layers.Whiteout {
			moved[q+r[len(p):]] = n
		}
	}
	if len(moved) > 0 {
		m.remove(p)
		m.remove(q)
		maps.Copy(m.files, moved)
	}
}

var pathNames = []string{"a", "b", "c", "d.txt", "a-b"}

func drawPath(t *rapid.T) string {
	return strings.Join(rapid.SliceOfN(rapid.SampledFrom(pathNames), 1, 3).Draw(t, "path"), "/")
}

// edit draws one edit. token is different for each edit of a test.
func (m model) edit(t *rapid.T, token string) {
	p := drawPath(t)
	if all := m.paths(); len(all) > 0 && rapid.Bool().Draw(t, "known") {
		p = rapid.SampledFrom(all).Draw(t, "of")
	}
	if !m.room(p) {
		return
	}
	n := m.files[p]
	switch rapid.IntRange(0, 11).Draw(t, "edit") {
	case 0:
		m.remove(p)
	case 1:
		m.remove(p)
		m.files[p] = &inode{kind: layers.Whiteout}
	case 2:
		m.remove(p)
		m.files[p] = &inode{kind: layers.Dir, mode: 0o755, opaque: true}
	case 3, 4:
		q := p
		if rapid.Bool().Draw(t, "up") && parent(p) != "" {
			q = parent(p)
		}
		m.move(q, drawPath(t))
	case 5:
		if q := drawPath(t); n != nil && n.kind == layers.Regular && m.room(q) && !strings.HasPrefix(p, q+"/") && !strings.HasPrefix(q, p+"/") && p != q {
			m.remove(q)
			m.files[q] = n
		}
	case 6:
		m.remove(p)
		m.files[p] = &inode{kind: layers.Symlink, text: token, mode: 0o777}
	case 7:
		if n != nil && n.kind != layers.Whiteout {
			n.mode, n.time = rapid.SampledFrom([]uint16{0o600, 0o755}).Draw(t, "mode"), rapid.Int64Range(0, 9).Draw(t, "time")
		}
	case 8:
		m.base[p] = token
	default:
		if n == nil || n.kind != layers.Regular {
			m.remove(p)
			m.files[p] = &inode{kind: layers.Regular, mode: 0o644, text: newText(t, token)}
			return
		}
		n.text = changeText(t, n.text, token)
	}
}

func newText(t *rapid.T, token string) string {
	switch rapid.IntRange(0, 3).Draw(t, "text") {
	case 0:
		return "\x00" + token
	case 1:
		return token + "\n"
	default:
		return strings.Repeat("x\n", 3) + token + "\n" + "y\nz\nw\n"
	}
}

func changeText(t *rapid.T, text, token string) string {
	if strings.HasPrefix(text, "\x00") {
		return text + token
	}
	lines := slices.Collect(strings.Lines(text))
	at := rapid.IntRange(0, len(lines)).Draw(t, "line")
	if at < len(lines) && len(lines[at]) == 2 && rapid.Bool().Draw(t, "replace") {
		lines[at] = token + "\n"
		return strings.Join(lines, "")
	}
	return strings.Join(slices.Insert(lines, at, token+"\n"), "")
}

// side makes trees of the model.
func (m model) side(s *scene) trees.Side {
	var side trees.Side
	first := map[*inode]string{}
	for _, p := range slices.SortedFunc(maps.Keys(m.files), layers.ComparePaths) {
		n := m.files[p]
		e := layers.Entry{Path: p, Type: n.kind, Mode: n.mode, Opaque: n.opaque, ModTime: layers.Time{Sec: n.time}}
		switch {
		case first[n] != "":
			e = layers.Entry{Path: p, Type: layers.Hardlink, Target: first[n]}
		case n.kind == layers.Regular:
			s.mustPut(&e, n.text)
			first[n] = p
		case n.kind == layers.Symlink:
			e.Target = n.text
			first[n] = p
		}
		side.Tree = append(side.Tree, e)
		if text, ok := m.base[p]; ok {
			b := layers.Entry{Path: p, Type: layers.Regular, Mode: 0o644}
			s.mustPut(&b, text)
			side.Base = append(side.Base, b)
		}
	}
	return side
}

func (s *scene) mustPut(e *layers.Entry, text string) {
	if err := s.put(s.t.Context(), e, []byte(text)); err != nil {
		s.t.Fatal(err)
	}
}

// drawModels draws an ancestor and two sides.
func drawModels(t *rapid.T) (a, o, u model) {
	a = model{files: map[string]*inode{}, base: map[string]string{}}
	many := func(m model, side string) {
		for i := range rapid.IntRange(0, 12).Draw(t, side) {
			m.edit(t, fmt.Sprintf("<%s%d>", side, i))
		}
	}
	many(a, "a")
	o, u = a.clone(), a.clone()
	many(o, "o")
	many(u, "t")
	return a, o, u
}

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

func TestMergeLosesNothing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := newScene(t)
		a, o, u := drawModels(rt)
		in := s.input(a.side(s), o.side(s), u.side(s))
		out := s.merge(in)
		all := strings.Join(s.contents(out.Tree), "\n")
		for _, side := range []model{o, u} {
			for p, n := range side.files {
				for _, token := range strings.SplitAfter(n.text, ">") {
					i := strings.LastIndexByte(token, '<')
					if i < 0 || strings.HasPrefix(token[i:], "<a") {
						continue
					}
					if !strings.Contains(all, token[i:]) {
						rt.Fatalf("%s, written at %s, is lost\n%s", token[i:], p, s.tell(in, out))
					}
				}
			}
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
