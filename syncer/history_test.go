package syncer_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"path"
	"slices"
	"strings"

	"satchel/layers"
	"satchel/layers/ingest"
	"satchel/layers/manifest"
	"satchel/layers/repo"
	"satchel/layers/treefs"
	"satchel/store"
	"satchel/store/disk"
)

// A record is what the test knows was written. Every line that anybody writes
// is unique, and so is the one line of every binary file.
type record struct {
	next    int
	written map[string]store.ID // lines, and the version that brought each
	dropped map[string]bool     // lines that somebody who saw them took out
	handed  map[string]bool     // lines of hand-outs
	made    []store.ID          // versions that were captured or handed out
}

func newRecord() *record {
	return &record{written: map[string]store.ID{}, dropped: map[string]bool{}, handed: map[string]bool{}}
}

func (r *record) line() string {
	r.next++
	return fmt.Sprintf("line %d", r.next)
}

// note compares the trees before and after a capture that made a version. A
// line that merges have put into two files counts as taken out when one of them
// loses it: somebody else may have taken it out of the other.
func (r *record) note(before, after map[string]int, version store.ID) {
	for line := range after {
		if _, known := r.written[line]; !known {
			r.written[line] = version
		}
	}
	for line, n := range before {
		if after[line] < n {
			r.dropped[line] = true
		}
	}
	r.made = append(r.made, version)
}

// lines returns how often each line occurs in the files of a tree.
func lines(ctx context.Context, st *disk.Store, t layers.Tree) (map[string]int, error) {
	all := map[string]int{}
	fsys := treefs.New(ctx, t, st)
	for i := range t {
		if t[i].Type != layers.Regular {
			continue
		}
		data, err := fsys.ReadFile(t[i].Path)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(data)) {
			if line = strings.Trim(line, "\x00\n"); line != "" {
				all[line]++
			}
		}
	}
	return all, nil
}

// A desk is a tree in work: contents by path. A line of it may be changed, as a
// program in a guest would.
type desk struct {
	files map[string][]byte
	old   map[string]*layers.Entry // files as they were found
}

func newDesk(ctx context.Context, st *disk.Store, t layers.Tree) (*desk, error) {
	d := &desk{files: map[string][]byte{}, old: map[string]*layers.Entry{}}
	fsys := treefs.New(ctx, t, st)
	for i := range t {
		if t[i].Type == layers.Regular {
			data, err := fsys.ReadFile(t[i].Path)
			if err != nil {
				return nil, err
			}
			d.files[t[i].Path], d.old[t[i].Path] = data, &t[i]
		}
	}
	return d, nil
}

func (d *desk) paths() []string {
	var all []string
	for p := range d.files {
		all = append(all, p)
	}
	slices.Sort(all)
	return all
}

// edit makes one random change.
func (d *desk) edit(r *rand.Rand, rec *record) {
	paths := d.paths()
	if len(paths) == 0 || r.IntN(4) == 0 {
		d.create(r, rec)
		return
	}
	p := paths[r.IntN(len(paths))]
	switch r.IntN(6) {
	case 0:
		delete(d.files, p)
	case 1:
		d.move(p, fmt.Sprintf("home/dir%d/moved%d", r.IntN(3), r.IntN(1000)))
	case 2: // a directory and all in it
		dir, to := path.Dir(p), fmt.Sprintf("home/dir%d-%d", r.IntN(3), r.IntN(100))
		for _, q := range paths {
			if path.Dir(q) == dir {
				d.move(q, to+"/"+path.Base(q))
			}
		}
	default:
		d.rewrite(p, r, rec)
	}
}

func (d *desk) create(r *rand.Rand, rec *record) {
	p := fmt.Sprintf("home/dir%d/file%d", r.IntN(3), r.IntN(8))
	if r.IntN(3) == 0 {
		d.files[p+".bin"] = []byte("\x00\n" + rec.line() + "\n")
		return
	}
	var text bytes.Buffer
	for range 1 + r.IntN(12) {
		fmt.Fprintln(&text, rec.line())
	}
	d.files[p+".txt"] = text.Bytes()
}

func (d *desk) move(from, to string) {
	if _, taken := d.files[to]; taken {
		return
	}
	d.files[to], d.old[to] = d.files[from], d.old[from]
	delete(d.files, from)
	delete(d.old, from)
}

func (d *desk) rewrite(p string, r *rand.Rand, rec *record) {
	if strings.HasSuffix(p, ".bin") || bytes.IndexByte(d.files[p], 0) >= 0 {
		d.files[p] = []byte("\x00\n" + rec.line() + "\n")
		return
	}
	text := strings.SplitAfter(string(d.files[p]), "\n")
	at := r.IntN(len(text))
	switch r.IntN(3) {
	case 0:
		text = slices.Insert(text, at, rec.line()+"\n")
	case 1:
		text[at] = rec.line() + "\n"
	default:
		text = slices.Delete(text, at, at+1)
	}
	d.files[p] = []byte(strings.Join(text, ""))
}

// tree stores the files and returns them as a tree.
func (d *desk) tree(ctx context.Context, st *disk.Store, w store.Writer, now layers.Time) (layers.Tree, error) {
	pl := ingest.New(ctx, w, st.Domain())
	paths := d.paths()
	entries := make([]layers.Entry, len(paths))
	for i, p := range paths {
		entries[i] = layers.Entry{Path: p, Type: layers.Regular, Mode: 0o644, UID: 1000, GID: 1000, ModTime: now}
		if old := d.old[p]; old != nil {
			entries[i].ModTime = old.ModTime
		}
		data := d.files[p]
		pl.Add(&entries[i], func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
	}
	if err := pl.Wait(); err != nil {
		return nil, err
	}
	t := layers.Tree(entries)
	t.Sort()
	return t, t.Check()
}

// session edits a layer's newest version and captures that.
func session(ctx context.Context, st *disk.Store, rp *repo.Repo, layer string, r *rand.Rand, rec *record) error {
	w, err := st.Begin(ctx, "session")
	if err != nil {
		return err
	}
	defer w.Close()
	at, err := rp.Resolve(ctx, layer)
	if err != nil {
		return err
	}
	before, err := manifest.ReadTree(ctx, st, at.Version.Tree)
	if err != nil {
		return err
	}
	d, err := newDesk(ctx, st, before)
	if err != nil {
		return err
	}
	for range 1 + r.IntN(4) {
		d.edit(r, rec)
	}
	after, err := d.tree(ctx, st, w, layers.Time{Sec: 1700000000 + int64(rec.next)})
	if err != nil {
		return err
	}
	ids, err := rp.Commit(ctx, w, repo.Commit{Head: at.Head, Kind: layers.Data, Tree: after, Message: "session"})
	if err != nil {
		return err
	}
	seen, err := lines(ctx, st, before)
	if err != nil {
		return err
	}
	left, err := lines(ctx, st, after)
	if err != nil {
		return err
	}
	rec.note(seen, left, ids[0])
	return nil
}
