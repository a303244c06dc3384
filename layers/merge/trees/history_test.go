package trees_test

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"satchel/layers"
	"satchel/layers/merge/trees"
)

// A replica is a device's copy of a tree: what is there now, and what it last
// had from the server.
type replica struct {
	name      string
	now, from *trees.Side
}

// A history is what happens to a tree on a server and several replicas.
type history struct {
	s        *scene
	server   *trees.Side
	replicas []*replica
	edits    int
	written  map[string]bool
	dropped  map[string]bool // tokens that somebody who had them took out
	steps    strings.Builder
}

// model makes a model of a tree.
func (s *scene) model(side *trees.Side) model {
	m := model{files: map[string]*inode{}, base: map[string]string{}}
	for i := range side.Tree {
		e := &side.Tree[i]
		if e.Type == layers.Hardlink {
			m.files[e.Path] = m.files[e.Target]
			continue
		}
		n := &inode{kind: e.Type, opaque: e.Opaque, text: e.Target, mode: e.Mode, uid: e.UID, time: e.ModTime.Sec}
		if e.Type == layers.Regular {
			n.text = string(s.content(e))
		}
		for _, x := range e.Xattrs {
			n.xattrs = append(n.xattrs, x.Name)
		}
		m.files[e.Path] = n
	}
	return m
}

// edit makes a few edits on a replica.
func (h *history) edit(t *rapid.T, r *replica) {
	m := h.s.model(r.now)
	for range rapid.IntRange(1, 4).Draw(t, "edits") {
		h.edits++
		m.edit(t, fmt.Sprintf("<o%d>", h.edits))
	}
	next := m.side(h.s)
	before, after := h.s.tokens(r.now.Tree), h.s.tokens(next.Tree)
	for token := range after {
		h.written[token] = true
	}
	for token, n := range before {
		if after[token] < n {
			h.dropped[token] = true
		}
	}
	r.now = &next
	fmt.Fprintf(&h.steps, "edit of %s:\n%s", r.name, h.s.text(next.Tree))
}

// sync makes a replica and the server the same. The push may be refused, since
// somebody else was faster: then the replica has merged and the server has not.
func (h *history) sync(r *replica, pushed bool) {
	switch {
	case r.now == h.server:
	case r.now == r.from:
		r.now = h.server
	case h.server != r.from:
		out := h.s.merge(trees.Input{
			Ancestor: *r.from, Ours: trees.Side{Tree: r.now.Tree, Base: r.now.Base, Device: r.name, Time: day},
			Theirs: trees.Side{Tree: h.server.Tree, Base: h.server.Base, Device: "server", Time: day},
			Get:    h.s.st, Put: h.s.put,
		})
		r.now = &trees.Side{Tree: out.Tree, Base: out.Base}
		fmt.Fprintf(&h.steps, "merge of %s:\n%s", r.name, h.s.text(out.Tree))
	}
	r.from = h.server
	if pushed {
		h.server, r.from = r.now, r.now
	}
}

// TestMergeOverAndOver has several replicas edit and merge again and again, and
// tells what was lost that nobody took out.
func TestMergeOverAndOver(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := &history{s: newScene(t), server: &trees.Side{}, written: map[string]bool{}, dropped: map[string]bool{}}
		for _, name := range []string{"desk", "laptop", "phone"} {
			h.replicas = append(h.replicas, &replica{name, h.server, h.server})
		}
		for range rapid.IntRange(12, 40).Draw(rt, "steps") {
			r := rapid.SampledFrom(h.replicas).Draw(rt, "replica")
			switch rapid.IntRange(0, 4).Draw(rt, "do") {
			case 0:
				h.sync(r, false)
			case 1, 2:
				h.sync(r, true)
			default:
				h.edit(rt, r)
			}
		}
		for range 2 {
			for _, r := range h.replicas {
				h.sync(r, true)
			}
		}
		is := h.s.tokens(h.server.Tree)
		for token := range h.written {
			if is[token] == 0 && !h.dropped[token] {
				rt.Errorf("lost: %s", token)
			}
		}
		for _, r := range h.replicas {
			if r.now != h.server {
				rt.Errorf("%s is not as the server", r.name)
			}
		}
		if rt.Failed() {
			rt.Fatal(h.steps.String())
		}
	})
}
