package syncer_test

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"strings"
	"time"

	"satchel/layers"
	"satchel/layers/manifest"
	"satchel/layers/repo"
	"satchel/layers/treefs"
	"satchel/store"
	"satchel/store/disk"
)

// A record is what the test knows was written. All that anybody writes is
// unique: each line of a text, the one line of every other file, the target of
// each symbolic link, the name of each attribute and each path that is whited
// out. So it can be told of each whether it is there.
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

// note compares what is seen before and after a capture that made a version. A
// line that merges have put into two files counts as taken out when one of them
// loses it: somebody else may have taken it out of the other.
func (r *record) note(before, after sight, version store.ID) {
	for line := range after.lines {
		if _, known := r.written[line]; !known {
			r.written[line] = version
		}
	}
	for _, known := range []iter.Seq[string]{maps.Keys(r.written), maps.Keys(before.lines)} { // merges make whiteouts, too
		for line := range known {
			if after.count(line) < before.count(line) {
				r.dropped[line] = true
			}
		}
	}
	r.made = append(r.made, version)
}

// A sight is what a test sees of a tree.
type sight struct {
	lines  map[string]int  // how often each line occurs
	hiding map[string]bool // paths at which lower layers are hidden
}

const whiteoutOf = "whiteout of " // begins the line of a whiteout

// count returns how often a line occurs. A whiteout is there as long as what it
// hid is hidden: a merge has a file that was added at its path in its stead.
func (s sight) count(line string) int {
	path, is := strings.CutPrefix(line, whiteoutOf)
	if !is {
		return s.lines[line]
	}
	for ; path != ""; path, _ = layers.SplitPath(path) {
		if s.hiding[path] {
			return 1
		}
	}
	return 0
}

// see looks at a tree.
func see(ctx context.Context, st *disk.Store, t layers.Tree) (sight, error) {
	s := sight{map[string]int{}, map[string]bool{}}
	fsys := treefs.New(ctx, t, st)
	for i := range t {
		e := &t[i]
		for _, x := range e.Xattrs {
			s.lines[x.Name]++
		}
		if e.Type != layers.Dir || e.Opaque {
			s.hiding[e.Path] = true
		}
		switch e.Type {
		case layers.Whiteout:
			s.lines[whiteoutOf+e.Path]++
		case layers.Symlink:
			s.lines[e.Target]++
		case layers.Regular:
			data, err := fsys.ReadFile(e.Path)
			if err != nil {
				return s, err
			}
			for line := range strings.Lines(string(data)) {
				if line = strings.Trim(line, "\x00\n"); line != "" {
					s.lines[line]++
				}
			}
		}
	}
	return s, nil
}

// A session edits a layer's newest version and captures that, on a device whose
// clock is wrong by skew.
type session struct {
	st    *disk.Store
	repo  *repo.Repo
	layer string
	skew  time.Duration
	name  string // of the device
}

func (s session) run(ctx context.Context, r *rand.Rand, rec *record) error {
	w, err := s.st.Begin(ctx, "session")
	if err != nil {
		return err
	}
	defer w.Close()
	at, err := s.repo.Resolve(ctx, s.layer)
	if err != nil {
		return err
	}
	before, err := manifest.ReadTree(ctx, s.st, at.Version.Tree)
	if err != nil {
		return err
	}
	d, err := newDesk(ctx, s.st, before)
	if err != nil {
		return err
	}
	for range 1 + r.IntN(4) {
		d.edit(r, rec)
	}
	after, err := d.tree(ctx, s.st, w, layers.Time{Sec: 1700000000 + int64(rec.next)})
	if err != nil {
		return err
	}
	id, err := s.capture(ctx, w, at, after)
	if err != nil {
		return err
	}
	seen, err := see(ctx, s.st, before)
	if err != nil {
		return err
	}
	left, err := see(ctx, s.st, after)
	if err != nil {
		return err
	}
	rec.note(seen, left, id)
	return nil
}

// capture makes a tree the layer's newest version.
func (s session) capture(ctx context.Context, w store.Writer, at repo.Resolved, t layers.Tree) (store.ID, error) {
	v := layers.Version{
		Layer: at.Head.Layer, Kind: layers.Data, Parents: []store.ID{at.ID},
		Time: time.Now().Add(s.skew).UTC(), Device: s.name, Message: "session",
	}
	id, err := manifest.Write(ctx, w, v, t, nil)
	if err != nil {
		return id, err
	}
	if err := w.Flush(ctx); err != nil {
		return id, err
	}
	return id, s.st.Heads().CompareAndSwap(ctx, store.Move{Layer: at.Head.Layer, From: at.ID, To: id})
}
