package trees_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"satchel/layers"
	"satchel/layers/layerstest"
	"satchel/layers/merge/trees"
	"satchel/layers/treefs"
)

// A scene merges trees that are written one entry a line: path, a sign, and
// what the sign wants. Quotes are as in Go.
//
//	a/b = text      regular file; \n for line ends
//	a/b == a/a      hard link
//	a/b -> target   symbolic link
//	a/              directory
//	a/!             opaque directory
//	-a/b            whiteout
//
// Words after a # at the end set mode=, uid=, time= (seconds) or x=, the value
// of an extended attribute.
type scene struct {
	t  testing.TB
	st *layerstest.Store
}

func newScene(t testing.TB) *scene { return &scene{t, layerstest.NewStore()} }

func (s *scene) put(ctx context.Context, e *layers.Entry, data []byte) error {
	e.Size, e.Extents = int64(len(data)), nil
	for chunk := range slices.Chunk(data, 4096) {
		ids, err := s.st.Put(ctx, chunk)
		if err != nil {
			return err
		}
		e.Extents = append(e.Extents, layers.Extent{ID: ids[0], Len: int64(len(chunk))})
	}
	return nil
}

func (s *scene) tree(text string) layers.Tree {
	s.t.Helper()
	var tree layers.Tree
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		tree = append(tree, s.entry(line))
	}
	tree.Sort()
	if err := tree.Check(); err != nil {
		s.t.Fatal(err)
	}
	return tree
}

func (s *scene) entry(line string) layers.Entry {
	s.t.Helper()
	line, attrs, _ := strings.Cut(line, " #")
	e := layers.Entry{Mode: 0o644}
	link := false
	switch {
	case strings.HasPrefix(line, "-"):
		return layers.Entry{Path: line[1:], Type: layers.Whiteout}
	case strings.Contains(line, " == "):
		link = true
		e.Type = layers.Hardlink
		e.Path, e.Target, _ = strings.Cut(line, " == ")
	case strings.Contains(line, " -> "):
		e.Type = layers.Symlink
		e.Path, e.Target, _ = strings.Cut(line, " -> ")
	case strings.Contains(line, " ="):
		e.Type = layers.Regular
		path, text, _ := strings.Cut(line, " =")
		text, err := strconv.Unquote(`"` + strings.TrimPrefix(text, " ") + `"`)
		if err != nil {
			s.t.Fatalf("%q: %v", line, err)
		}
		e.Path = path
		if err := s.put(s.t.Context(), &e, []byte(text)); err != nil {
			s.t.Fatal(err)
		}
	default:
		e.Type, e.Mode, e.Opaque = layers.Dir, 0o755, strings.HasSuffix(line, "!")
		e.Path = strings.TrimSuffix(strings.TrimSuffix(line, "!"), "/")
	}
	if link {
		e.Mode = 0
	}
	for _, word := range strings.Fields(attrs) {
		name, value, _ := strings.Cut(word, "=")
		n, _ := strconv.ParseInt(value, 0, 64)
		switch name {
		case "mode":
			e.Mode = uint16(n)
		case "uid":
			e.UID = uint32(n)
		case "time":
			e.ModTime.Sec = n
		default:
			e.Xattrs = append(e.Xattrs, layers.Xattr{Name: name, Value: []byte(value)})
		}
	}
	return e
}

// text is the inverse of tree, sorted.
func (s *scene) text(tree layers.Tree) string {
	var b strings.Builder
	for i := range tree {
		e := &tree[i]
		mode := uint16(0o644)
		switch e.Type {
		case layers.Whiteout:
			b.WriteString("-" + e.Path)
			mode = 0
		case layers.Hardlink:
			b.WriteString(e.Path + " == " + e.Target)
			mode = 0
		case layers.Symlink:
			b.WriteString(e.Path + " -> " + e.Target)
		case layers.Dir:
			b.WriteString(e.Path + "/")
			if e.Opaque {
				b.WriteByte('!')
			}
			mode = 0o755
		default:
			q := strconv.Quote(string(s.content(e)))
			b.WriteString(strings.TrimSuffix(e.Path+" = "+q[1:len(q)-1], " "))
		}
		var attrs []string
		if e.Mode != mode {
			attrs = append(attrs, fmt.Sprintf("mode=%#o", e.Mode))
		}
		if e.UID != 0 {
			attrs = append(attrs, fmt.Sprintf("uid=%d", e.UID))
		}
		if e.ModTime.Sec != 0 {
			attrs = append(attrs, fmt.Sprintf("time=%d", e.ModTime.Sec))
		}
		for _, x := range e.Xattrs {
			attrs = append(attrs, x.Name+"="+string(x.Value))
		}
		if len(attrs) > 0 {
			b.WriteString(" # " + strings.Join(attrs, " "))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func (s *scene) content(e *layers.Entry) []byte {
	s.t.Helper()
	b := make([]byte, e.Size)
	if e.Size > 0 {
		if _, err := treefs.Open(s.t.Context(), s.st, e).ReadAt(b, 0); err != nil {
			s.t.Fatal(err)
		}
	}
	return b
}

var day = time.Date(2026, 5, 17, 23, 0, 0, 0, time.UTC)

func (s *scene) input(ancestor, ours, theirs trees.Side) trees.Input {
	ours.Device, ours.Time = "desk", day
	theirs.Device, theirs.Time = "laptop", day.Add(-48*time.Hour)
	return trees.Input{Ancestor: ancestor, Ours: ours, Theirs: theirs, Get: s.st, Put: s.put}
}

// TestMerge reads scenes from testdata/scenes.txt: a title after a #, and the
// trees after ">" and a name: ancestor, ours, theirs, merged; of each the base
// may follow. Conflicts are told by path and kept name.
func TestMerge(t *testing.T) {
	data, err := os.ReadFile("testdata/scenes.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range strings.Split("\n"+string(data), "\n# ")[1:] {
		title, text, _ := strings.Cut(text, "\n")
		t.Run(title, func(t *testing.T) { runScene(t, text) })
	}
}

func runScene(t *testing.T, text string) {
	s := newScene(t)
	parts := map[string]string{}
	for _, part := range strings.Split("\n"+text, "\n> ")[1:] {
		name, body, _ := strings.Cut(part, "\n")
		parts[strings.TrimSpace(name)] = body
	}
	side := func(name string) trees.Side {
		return trees.Side{Tree: s.tree(parts[name]), Base: s.tree(parts[name+" base"])}
	}
	got, err := trees.Merge(t.Context(), s.input(side("ancestor"), side("ours"), side("theirs")))
	if err != nil {
		t.Fatal(err)
	}
	same := func(what, got string) {
		t.Helper()
		if want := strings.TrimSpace(parts[what]); strings.TrimSpace(got) != want {
			t.Errorf("%s is\n%s\nwant\n%s", what, got, want)
		}
	}
	same("merged", s.text(got.Tree))
	same("merged base", s.text(got.Base))
	var conflicts strings.Builder
	for _, c := range got.Conflicts {
		fmt.Fprintln(&conflicts, strings.TrimSpace(c.Path+" "+c.Kept))
	}
	same("conflicts", conflicts.String())
}
