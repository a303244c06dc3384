package compose_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"satchel/layers"
	"satchel/layers/compose"
	"satchel/store"
)

// chunks is a store in memory.
type chunks map[store.ID][]byte

func (c chunks) Get(_ context.Context, id store.ID) ([]byte, error) {
	if data, ok := c[id]; ok {
		return data, nil
	}
	return nil, fmt.Errorf("chunk %s: %w", id.Short(), store.ErrNotExist)
}

func (c chunks) put(data string) []layers.Extent {
	if data == "" {
		return nil
	}
	id := store.ID(sha256.Sum256([]byte(data)))
	c[id] = []byte(data)
	return []layers.Extent{{ID: id, Len: int64(len(data))}}
}

var typeOf = map[string]layers.Type{
	"d": layers.Dir, "d!": layers.Dir, "f": layers.Regular, "l": layers.Symlink,
	"h": layers.Hardlink, "w": layers.Whiteout, "p": layers.Fifo,
}

// tree reads a tree from lines: a type, a path, and for files, symlinks and
// hard links their content or target. "d!" is an opaque directory and "/" the
// root. Fields of the form mode=, uid=, gid=, time= and x= (an extended
// attribute) set attributes. Lines may come in any order.
func (c chunks) tree(script string) layers.Tree {
	var t layers.Tree
	for line := range strings.Lines(script) {
		field := strings.Fields(line)
		if len(field) == 0 {
			continue
		}
		e := layers.Entry{Type: typeOf[field[0]], Path: strings.TrimPrefix(field[1], "/"), Opaque: field[0] == "d!"}
		switch e.Type {
		case layers.Dir:
			e.Mode = 0o755
		case layers.Regular:
			e.Mode = 0o644
		}
		for _, f := range field[2:] {
			if key, value, ok := strings.Cut(f, "="); !ok || !c.attribute(&e, key, value) {
				if e.Type == layers.Regular {
					e.Extents, e.Size = c.put(f), int64(len(f))
				} else {
					e.Target = f
				}
			}
		}
		t = append(t, e)
	}
	t.Sort()
	return t
}

func (c chunks) attribute(e *layers.Entry, key, value string) bool {
	n, _ := strconv.ParseInt(value, 0, 64)
	switch key {
	case "mode":
		e.Mode = uint16(n)
	case "uid":
		e.UID = uint32(n)
	case "gid":
		e.GID = uint32(n)
	case "time":
		e.ModTime.Sec = n
	case "x":
		e.Xattrs = []layers.Xattr{{Name: "user.x", Value: []byte(value)}}
	default:
		return false
	}
	return true
}

// script is the inverse of tree, for the entries of a result.
func script(tb testing.TB, t layers.Tree, g store.Getter) []string {
	tb.Helper()
	var lines []string
	for i := range t {
		e := &t[i]
		var line string
		for name, typ := range typeOf {
			if typ == e.Type && (name == "d!") == e.Opaque {
				line = name + " " + e.Path
			}
		}
		if e.Path == "" {
			line += "/"
		}
		usual := uint16(0)
		switch e.Type {
		case layers.Dir:
			usual = 0o755
		case layers.Regular:
			usual = 0o644
			if text := contentOf(tb, e, g); text != "" {
				line += " " + text
			}
		case layers.Symlink, layers.Hardlink:
			line += " " + e.Target
		}
		add := func(set bool, format string, value any) {
			if set {
				line += fmt.Sprintf(" "+format, value)
			}
		}
		add(e.Mode != usual, "mode=%#o", e.Mode)
		add(e.UID != 0, "uid=%d", e.UID)
		add(e.GID != 0, "gid=%d", e.GID)
		add(e.ModTime.Sec != 0, "time=%d", e.ModTime.Sec)
		for _, x := range e.Xattrs {
			add(true, "x=%s", x.Value)
		}
		lines = append(lines, line)
	}
	return lines
}

func contentOf(tb testing.TB, e *layers.Entry, g store.Getter) string {
	tb.Helper()
	var b strings.Builder
	for _, x := range e.Extents {
		data, err := g.Get(context.Background(), x.ID)
		if err != nil || int64(len(data)) != x.Len {
			tb.Fatalf("%s: %d bytes, want %d: %v", e.Path, len(data), x.Len, err)
		}
		b.Write(data)
	}
	return b.String()
}

// A scripted layer is a tree and its base.
type scripted struct{ tree, base string }

var names = []string{"os", "group", "personal", "system"}

// stack makes layers of scripts, lowest first.
func (c chunks) stack(scripts ...scripted) []compose.Layer {
	var stack []compose.Layer
	for i, s := range scripts {
		stack = append(stack, compose.Layer{Name: names[i], Kind: layers.Kinds[i], Tree: c.tree(s.tree), Base: c.tree(s.base)})
	}
	return stack
}

func mustCompose(tb testing.TB, c chunks, scripts ...scripted) *compose.Result {
	tb.Helper()
	r, err := compose.Compose(context.Background(), c, c.stack(scripts...))
	if err != nil {
		tb.Fatal(err)
	}
	if err := r.Tree.Check(); err != nil {
		tb.Errorf("the result: %v", err)
	}
	return r
}

func lines(s string) []string {
	var l []string
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line != "" {
			l = append(l, line)
		}
	}
	return slices.Clip(l)
}
