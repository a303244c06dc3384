package syncer_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"

	"satchel/layers"
	"satchel/layers/ingest"
	"satchel/layers/treefs"
	"satchel/store"
	"satchel/store/disk"
)

// A desk is a tree in work: what is at each path. Hard links share an item.
type desk struct{ items map[string]*item }

// An item is a file, a symbolic link, a whiteout or a directory.
type item struct {
	layers.Entry // without path and extents
	data         []byte
	changed      bool
}

func newDesk(ctx context.Context, st *disk.Store, t layers.Tree) (*desk, error) {
	d := &desk{items: map[string]*item{}}
	fsys := treefs.New(ctx, t, st)
	for i := range t {
		e := t[i]
		if e.Type == layers.Hardlink {
			d.items[e.Path] = d.items[e.Target] // which comes before it
			continue
		}
		f := &item{Entry: e}
		if e.Type == layers.Regular {
			data, err := fsys.ReadFile(e.Path)
			if err != nil {
				return nil, err
			}
			f.data = data
		}
		d.items[e.Path] = f
	}
	return d, nil
}

func (d *desk) paths() []string { return slices.SortedFunc(maps.Keys(d.items), layers.ComparePaths) }

// edit makes one random change.
func (d *desk) edit(r *rand.Rand, rec *record) {
	paths := slices.DeleteFunc(d.paths(), func(p string) bool { return d.items[p].Type == layers.Dir })
	if len(paths) == 0 || r.IntN(4) == 0 {
		d.create(r, rec)
		return
	}
	p := paths[r.IntN(len(paths))]
	switch r.IntN(10) {
	case 0:
		delete(d.items, p)
	case 1:
		d.move(p, fmt.Sprintf("home/dir%d/moved%d", r.IntN(2), r.IntN(1000)))
	case 2: // a directory and all in it
		dir, to := path.Dir(p), fmt.Sprintf("home/dir%d-%d", r.IntN(2), r.IntN(100))
		for _, q := range paths {
			if path.Dir(q) == dir {
				d.move(q, to+"/"+path.Base(q))
			}
		}
	case 3:
		if to := fmt.Sprintf("home/dir%d/link%d", r.IntN(2), r.IntN(20)); d.items[p].Type == layers.Regular && d.free(to) {
			d.items[to] = d.items[p]
		}
	case 4:
		d.attributes(p, r, rec)
	case 5: // a directory in place of what was there
		delete(d.items, p)
		d.put(p+"/inside.txt", &item{Entry: layers.Entry{Type: layers.Regular, Mode: 0o644}, data: []byte(rec.line() + "\n")})
	default:
		d.rewrite(p, r, rec)
	}
}

// free reports whether something can be at a path where nothing is.
func (d *desk) free(p string) bool {
	for q, f := range d.items {
		if q == p || strings.HasPrefix(q, p+"/") || f.Type != layers.Dir && strings.HasPrefix(p, q+"/") {
			return false
		}
	}
	return true
}

func (d *desk) put(p string, f *item) {
	if d.free(p) {
		f.changed = true
		d.items[p] = f
	}
}

func (d *desk) create(r *rand.Rand, rec *record) {
	p := fmt.Sprintf("home/dir%d/file%d", r.IntN(2), r.IntN(5))
	file := layers.Entry{Type: layers.Regular, Mode: 0o644, UID: 1000, GID: 1000}
	switch r.IntN(8) {
	case 0, 1:
		d.put(p+".bin", &item{Entry: file, data: []byte("\x00\n" + rec.line() + "\n")})
	case 2:
		d.put(p+".lnk", &item{Entry: layers.Entry{Type: layers.Symlink, Mode: 0o777, Target: rec.line()}})
	case 3:
		d.put("gone/"+rec.line(), &item{Entry: layers.Entry{Type: layers.Whiteout}})
	case 4:
		d.put(path.Dir(p), &item{Entry: layers.Entry{Type: layers.Dir, Mode: 0o700 + uint16(r.IntN(8)), UID: 1000, GID: 1000}})
	default:
		var text bytes.Buffer
		for range 1 + r.IntN(12) {
			fmt.Fprintln(&text, rec.line())
		}
		d.put(p+".txt", &item{Entry: file, data: text.Bytes()})
	}
}

func (d *desk) move(from, to string) {
	f := d.items[from]
	delete(d.items, from)
	if !d.free(to) {
		to = from
	}
	d.items[to] = f
}

// attributes changes what is not contents. Extended attributes have names of
// their own, so that a merge can keep all of them.
func (d *desk) attributes(p string, r *rand.Rand, rec *record) {
	f := d.items[p]
	if f.Type == layers.Whiteout {
		return
	}
	switch r.IntN(3) {
	case 0:
		f.Mode = 0o600 + uint16(r.IntN(64))
	case 1:
		f.GID = uint32(r.IntN(3))
	default:
		f.Xattrs = append(slices.Clone(f.Xattrs), layers.Xattr{Name: "user." + rec.line(), Value: []byte("x")})
		slices.SortFunc(f.Xattrs, func(a, b layers.Xattr) int { return strings.Compare(a.Name, b.Name) })
	}
	f.changed = true
}

func (d *desk) rewrite(p string, r *rand.Rand, rec *record) {
	f := d.items[p]
	f.changed = true
	switch {
	case f.Type == layers.Symlink:
		f.Target = rec.line()
		return
	case f.Type != layers.Regular:
		return
	case bytes.IndexByte(f.data, 0) >= 0:
		f.data = []byte("\x00\n" + rec.line() + "\n")
		return
	}
	text := strings.SplitAfter(string(f.data), "\n")
	at := r.IntN(len(text))
	switch r.IntN(3) {
	case 0:
		text = slices.Insert(text, at, rec.line()+"\n")
	case 1:
		text[at] = rec.line() + "\n"
	default:
		text = slices.Delete(text, at, at+1)
	}
	f.data = []byte(strings.Join(text, ""))
}

// tree stores the files and returns all as a tree.
func (d *desk) tree(ctx context.Context, st *disk.Store, w store.Writer, now layers.Time) (layers.Tree, error) {
	pl := ingest.New(ctx, w, st.Domain())
	paths := d.paths()
	entries := make(layers.Tree, len(paths))
	first := map[*item]string{}
	for i, p := range paths {
		f := d.items[p]
		if to, ok := first[f]; ok {
			entries[i] = layers.Entry{Path: p, Type: layers.Hardlink, Target: to}
			continue
		}
		first[f] = p
		e := &entries[i]
		*e = f.Entry
		e.Path = p
		if f.changed && f.Type != layers.Whiteout {
			e.ModTime = now
		}
		if f.Type == layers.Regular {
			e.Size, e.Extents = 0, nil
			data := f.data
			pl.Add(e, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
		}
	}
	if err := pl.Wait(); err != nil {
		return nil, err
	}
	return entries, entries.Check()
}
