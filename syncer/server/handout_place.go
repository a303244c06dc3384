package server

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"satchel/layers"
	"satchel/syncer"
)

// handedFiles returns the files of an archive as they are handed out: of hard
// links each is a file of its own, and of attributes only permissions, times
// and what users keep. Archives with devices, or with rights of their own that
// a user could not give, are refused as a whole.
func handedFiles(t layers.Tree) (layers.Tree, error) {
	var files layers.Tree
	for i := range t {
		e := *t.Resolve(&t[i])
		e.Path = t[i].Path
		var bad string
		switch e.Type {
		case layers.Regular, layers.Symlink, layers.Dir:
		default:
			bad = "a " + e.Type.String()
		}
		if e.Type != layers.Symlink && e.Mode&0o6000 != 0 && e.Type != layers.Dir {
			bad = "a file with set-id bits"
		}
		var kept []layers.Xattr
		for _, x := range e.Xattrs {
			if x.Name == "security.capability" {
				bad = "a file with capabilities"
			}
			if strings.HasPrefix(x.Name, "user.") {
				kept = append(kept, x)
			}
		}
		if bad != "" {
			return nil, fmt.Errorf("%.200q is %s and cannot be handed out: %w", e.Path, bad, syncer.ErrMalformed)
		}
		e.Mode &= 0o777
		e.Xattrs, e.Opaque = kept, false
		if e.Path != "" {
			files = append(files, e)
		}
	}
	return files, nil
}

// A placing puts files into a tree in which some may be already. What is in the
// tree stays, but for what hand-outs themselves had put there.
type placing struct {
	tree   layers.Tree
	into   string // without {user}
	title  string
	when   time.Time
	handed map[string][]layers.Entry
	linked map[string]bool // paths that hard links name

	added map[string]*layers.Entry // new entries, by path
	dirs  map[string]directory     // where directories of the archive are
	kept  []string
}

// A directory is one that exists, or will.
type directory struct {
	path     string
	uid, gid uint32
}

// defaultOwner is the first user of most guests.
const defaultOwner = 1000

func newPlacing(t layers.Tree, h *handout, owner string) *placing {
	p := &placing{
		tree: t, title: h.title, when: h.when, into: strings.ReplaceAll(h.into, "{user}", owner),
		linked: make(map[string]bool), added: make(map[string]*layers.Entry), dirs: make(map[string]directory),
	}
	for i := range t {
		if t[i].Type == layers.Hardlink {
			p.linked[t[i].Target] = true
		}
	}
	return p
}

// place returns the tree with the files in it.
func (p *placing) place(files layers.Tree) (layers.Tree, error) {
	root, err := p.way()
	if err != nil {
		return nil, err
	}
	p.dirs[""] = root
	for i := range files {
		e := files[i]
		dir, name := layers.SplitPath(e.Path)
		parent := p.parent(dir)
		if e.Type == layers.Dir {
			p.dirs[e.Path] = p.directory(parent, name)
		} else {
			p.file(parent, name, e)
		}
	}
	out := make(layers.Tree, 0, len(p.tree)+len(p.added))
	for _, e := range p.tree {
		if p.added[e.Path] == nil {
			out = append(out, e)
		}
	}
	for _, e := range p.added {
		out = append(out, *e)
	}
	out.Sort()
	return out, out.Check()
}

// parent returns where a directory of the archive is, which need not have an
// entry in it.
func (p *placing) parent(dir string) directory {
	if d, ok := p.dirs[dir]; ok {
		return d
	}
	above, name := layers.SplitPath(dir)
	d := p.directory(p.parent(above), name)
	p.dirs[dir] = d
	return d
}

// way makes the directories on the way to the place of the hand-out. The
// highest is always the system's, and has no entry unless it has one already.
func (p *placing) way() (directory, error) {
	d := directory{"", defaultOwner, defaultOwner}
	if p.into == "" {
		return d, nil
	}
	for i, name := range strings.Split(p.into, "/") {
		at := join(d.path, name)
		e := p.find(at)
		switch {
		case e != nil && e.Type != layers.Dir && e.Type != layers.Whiteout:
			return d, fmt.Errorf("%q is a %s in the layer, and no directory", at, e.Type)
		case i == 0 && (e == nil || e.Type == layers.Dir):
			d.path = at
		default:
			d = p.directory(d, name)
		}
	}
	return d, nil
}

// directory returns the directory of that name, which it makes if need be, or
// one beside it when something else has the name.
func (p *placing) directory(parent directory, name string) directory {
	for n := 0; ; n++ {
		d := directory{join(parent.path, p.beside(name, n, false)), parent.uid, parent.gid}
		e := p.find(d.path)
		switch {
		case e == nil && p.implied(d.path) != nil:
			first := p.implied(d.path)
			d.uid, d.gid = first.UID, first.GID
		case e == nil, e.Type == layers.Whiteout:
			p.added[d.path] = &layers.Entry{
				Path: d.path, Type: layers.Dir, Mode: 0o755, UID: d.uid, GID: d.gid, ModTime: layers.TimeOf(p.when),
				Opaque: e != nil, // what the whiteout hid stays hidden
			}
		case e.Type == layers.Dir:
			d.uid, d.gid = e.UID, e.GID
		default:
			continue
		}
		if n > 0 {
			p.kept = append(p.kept, d.path)
		}
		return d
	}
}

// file puts a file into a directory, under its name, or one beside it when
// there is another file of that name that a user has made or changed.
func (p *placing) file(parent directory, name string, e layers.Entry) {
	e.UID, e.GID = parent.uid, parent.gid
	if p.has(parent.path, name, &e) {
		return
	}
	for n := 0; ; n++ {
		e.Path = join(parent.path, p.beside(name, n, true))
		there := p.find(e.Path)
		if there == nil && p.implied(e.Path) != nil || there != nil && there.Type != layers.Whiteout && !p.unchanged(there) {
			continue
		}
		p.added[e.Path] = &e
		if n > 0 {
			p.kept = append(p.kept, e.Path)
		}
		return
	}
}

// has reports whether a file is in a directory already, under its name or one
// that an earlier hand-out of that title gave it.
func (p *placing) has(dir, name string, e *layers.Entry) bool {
	same := func(there *layers.Entry) bool {
		if there == nil {
			return false
		}
		carrier := p.tree.Resolve(there)
		return carrier != nil && carrier.SameContent(e)
	}
	if same(p.find(join(dir, name))) {
		return true
	}
	_, ext := splitExt(name)
	// All that begins with the same bytes stands together in a tree.
	prefix := strings.TrimSuffix(join(dir, p.beside(name, 1, true)), p.when.UTC().Format(time.DateOnly)+")"+ext)
	at, _ := p.tree.Index(prefix)
	for ; at < len(p.tree) && strings.HasPrefix(p.tree[at].Path, prefix); at++ {
		there := &p.tree[at]
		if strings.HasSuffix(there.Path, ext) && !strings.Contains(there.Path[len(prefix):], "/") && same(there) {
			p.kept = append(p.kept, there.Path)
			return true
		}
	}
	return false
}

// unchanged reports whether a file is as a hand-out has put it there; a newer
// time alone is no change.
func (p *placing) unchanged(e *layers.Entry) bool {
	if e.Type == layers.Dir || e.Type == layers.Hardlink || p.linked[e.Path] {
		return false
	}
	return slices.ContainsFunc(p.handed[e.Path], func(was layers.Entry) bool {
		was.ModTime = e.ModTime
		return was.Same(e)
	})
}

// find returns the entry at a path: a new one, or else that of the tree.
func (p *placing) find(path string) *layers.Entry {
	if e := p.added[path]; e != nil {
		return e
	}
	return p.tree.Find(path)
}

// implied returns something in a directory that has no entry, or nil when the
// path is no such directory.
func (p *placing) implied(path string) *layers.Entry {
	under := p.tree.Under(path)
	for i := range under {
		if e := p.tree.Resolve(&under[i]); e != nil && e.Type != layers.Whiteout {
			return e
		}
	}
	return nil
}

// beside returns a name, or the nth of those for what is put beside it.
func (p *placing) beside(name string, n int, file bool) string {
	if n == 0 {
		return name
	}
	stem, ext := name, ""
	if file {
		stem, ext = splitExt(name)
	}
	mark := fmt.Sprintf(" (from %s, %s)", p.title, p.when.UTC().Format(time.DateOnly))
	if n > 1 {
		mark += fmt.Sprint(" ", n)
	}
	if most := layers.MaxName - len(mark) - len(ext); len(stem) > most {
		stem = strings.ToValidUTF8(stem[:most], "")
	}
	return stem + mark + ext
}

// splitExt cuts a name before what looks like its extension.
func splitExt(name string) (stem, ext string) {
	if i := strings.LastIndexByte(name, '.'); i > 0 && len(name)-i <= 16 {
		return name[:i], name[i:]
	}
	return name, ""
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}
