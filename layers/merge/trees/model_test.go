package trees_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"satchel/layers"
	"satchel/layers/merge/trees"
)

// A model is a tree that is edited as people and programs do. Each edit of a
// content leaves a token of its own in it; new extended attributes have tokens
// as names.
type model struct {
	files map[string]*inode // by path
	base  map[string]string // content that a path hid
}

type inode struct {
	kind   layers.Type
	opaque bool
	text   string
	mode   uint16
	uid    uint32
	time   int64
	xattrs []string // names, sorted
}

func (m model) clone() model {
	same := map[*inode]*inode{}
	c := model{files: map[string]*inode{}, base: maps.Clone(m.base)}
	for p, n := range m.files {
		if same[n] == nil {
			own := *n
			own.xattrs = slices.Clone(n.xattrs)
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
	switch rapid.IntRange(0, 15).Draw(t, "edit") {
	case 0:
		m.remove(p)
	case 1:
		m.remove(p)
		m.files[p] = &inode{kind: layers.Whiteout}
	case 2:
		m.remove(p)
		m.files[p] = &inode{kind: layers.Dir, mode: 0o755, opaque: rapid.Bool().Draw(t, "opaque")}
	case 3, 4:
		q := p
		if rapid.Bool().Draw(t, "up") && parent(p) != "" {
			q = parent(p)
		}
		m.move(q, drawPath(t))
	case 5, 6:
		m.link(p, drawPath(t))
	case 7:
		m.remove(p)
		m.files[p] = &inode{kind: layers.Symlink, text: token, mode: 0o777}
	case 8, 9:
		n.change(t, token)
	case 10:
		m.base[p] = token
	case 11:
		if n != nil && n.kind == layers.Dir {
			n.opaque = !n.opaque
		} else {
			m.copy(p, drawPath(t))
		}
	default:
		if n == nil || n.kind != layers.Regular {
			m.remove(p)
			m.files[p] = &inode{kind: layers.Regular, mode: 0o644, text: newText(t, token)}
			return
		}
		n.text = changeText(t, n.text, token)
	}
}

// link gives the file at p another name.
func (m model) link(p, q string) {
	if n := m.files[p]; m.joins(p, q) {
		m.remove(q)
		m.files[q] = n
	}
}

// copy makes a file like that at p.
func (m model) copy(p, q string) {
	if n := m.files[p]; m.joins(p, q) {
		own := *n
		own.xattrs = slices.Clone(n.xattrs)
		m.remove(q)
		m.files[q] = &own
	}
}

// joins reports whether q can be another file or name of the file at p.
func (m model) joins(p, q string) bool {
	n := m.files[p]
	return n != nil && n.kind == layers.Regular && p != q && m.room(q) && !strings.HasPrefix(p, q+"/") && !strings.HasPrefix(q, p+"/")
}

// change changes an attribute.
func (n *inode) change(t *rapid.T, token string) {
	if n == nil || n.kind == layers.Whiteout {
		return
	}
	n.time = rapid.Int64Range(0, 9).Draw(t, "time")
	switch rapid.IntRange(0, 3).Draw(t, "attribute") {
	case 0:
		n.mode = rapid.SampledFrom([]uint16{0o600, 0o755}).Draw(t, "mode")
	case 1:
		n.uid = rapid.Uint32Range(0, 2).Draw(t, "uid")
	default:
		n.xattrs = append(n.xattrs, token)
		slices.Sort(n.xattrs)
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
	if at < len(lines) {
		switch rapid.IntRange(0, 3).Draw(t, "how") {
		case 0:
			lines[at] = token + "\n"
			return strings.Join(lines, "")
		case 1:
			return strings.Join(slices.Delete(lines, at, at+1), "")
		}
	}
	return strings.Join(slices.Insert(lines, at, token+"\n"), "")
}

// side makes trees of the model.
func (m model) side(s *scene) trees.Side {
	var side trees.Side
	first := map[*inode]string{}
	for _, p := range slices.SortedFunc(maps.Keys(m.files), layers.ComparePaths) {
		n := m.files[p]
		e := layers.Entry{Path: p, Type: n.kind, Mode: n.mode, UID: n.uid, Opaque: n.opaque, ModTime: layers.Time{Sec: n.time}}
		for _, x := range n.xattrs {
			e.Xattrs = append(e.Xattrs, layers.Xattr{Name: x, Value: []byte("x")})
		}
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
