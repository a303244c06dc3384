package manifest

import (
	"context"
	"fmt"
	"math"

	"satchel/layers"
	"satchel/store"
)

// How much Verify keeps in memory.
const (
	verifyContents = 4096    // IDs of contents, until they are handed over
	verifyLists    = 1 << 16 // lists that need no second look
)

// Verify checks all that a version consists of, its history aside: that each
// manifest chunk is well formed and agrees with what names it, that paths are
// in order throughout, that each hard link names a file of its tree, and that
// the roots count right. It fails with [store.ErrNotExist] or
// [store.ErrCorrupt].
//
// Known tells which chunks a version that was verified before reaches. A known
// node is opened only if it is a root, or to find what a hard link outside of
// it names. So what a known node holds is trusted to be in place: its level,
// where it begins and ends, and the hard links in it, whose files may have been
// in other nodes. Readers check those. A root's files and bytes are compared
// with what was seen, as a least when known nodes were passed over.
//
// Contents is called with the IDs of chunks of files' contents, some of them
// several times; it must not keep the slice. They are not read, so it is for
// the caller to see that they are there. Memory is bounded, and work is in
// proportion to the chunks that are not known.
func Verify(ctx context.Context, g store.Getter, version store.ID, known func(store.ID) bool, contents func([]store.ID) error) error {
	if known(version) {
		return nil
	}
	v, err := ReadVersion(ctx, g, version)
	if err != nil {
		return err
	}
	for _, id := range v.Parents {
		if id.IsZero() {
			return fmt.Errorf("verify version %s: %w", version.Short(), corrupt("a parent without ID"))
		}
	}
	d := &verifier{ctx: ctx, get: g, known: known, contents: contents, lists: map[listKey]struct{}{}}
	for _, root := range []layers.Root{v.Tree, v.Base} {
		if err := d.tree(root); err != nil {
			return fmt.Errorf("verify version %s: %w", version.Short(), err)
		}
	}
	if v.Form == layers.Disk {
		if err := checkDisk(ctx, g, v.Tree); err != nil {
			return fmt.Errorf("verify version %s: %w", version.Short(), err)
		}
	}
	return d.hand()
}

// checkDisk reports a tree that is not that of a disk.
func checkDisk(ctx context.Context, g store.Getter, root layers.Root) error {
	if root.Entries != 1 {
		return corrupt("a disk of %d files", root.Entries)
	}
	tree, err := ReadTree(ctx, g, root)
	if err != nil {
		return err
	}
	if _, err := tree.Disk(); err != nil {
		return corrupt("%v", err)
	}
	return nil
}

type verifier struct {
	ctx      context.Context
	get      store.Getter
	known    func(store.ID) bool
	contents func([]store.ID) error

	ids   []store.ID // of contents, not handed over yet
	lists map[listKey]struct{}

	// Of the tree at hand.
	root    layers.Root
	seen    layers.Root // what was counted so far
	pruned  bool        // a known node was passed over
	started bool        // last holds a path
	last    string      // the path that came last
	links   links
	budget  int64 // extents in lists that the tree may still have
}

// listKey is a list as what names it says that it is.
type listKey struct {
	level byte
	ref   listRef
}

func (d *verifier) tree(root layers.Root) error {
	d.root, d.seen, d.pruned, d.started, d.last = root, layers.Root{}, false, false, ""
	d.budget = maxTreeExtents
	if root.Entries > 0 {
		n, err := readNode(d.ctx, d.get, child{id: root.ID, entries: root.Entries}, -1)
		if err != nil {
			return err
		}
		if d.pruned = d.known(root.ID); !d.pruned {
			if err := d.node(n); err != nil {
				return fmt.Errorf("tree %s: %w", root.ID.Short(), err)
			}
		}
	}
	if err := d.resolve(); err != nil {
		return fmt.Errorf("tree %s: %w", root.ID.Short(), err)
	}
	exact := d.seen.Files == root.Files && d.seen.Bytes == root.Bytes
	least := d.seen.Files <= root.Files && d.seen.Bytes <= root.Bytes && root.Files <= root.Entries
	if !exact && (!d.pruned || !least) {
		return corrupt("tree %s of %d files and %d bytes, counted %d and %d",
			root.ID.Short(), root.Files, root.Bytes, d.seen.Files, d.seen.Bytes)
	}
	return nil
}

// node checks what a node names. Levels go down, so it ends; paths go up, so no
// node is met twice.
func (d *verifier) node(n *node) error {
	for _, c := range n.children {
		if d.known(c.id) {
			d.pruned = true
			if err := d.path(c.first); err != nil {
				return err
			}
			continue
		}
		below, err := readNode(d.ctx, d.get, c, int(n.level)-1)
		if err != nil {
			return err
		}
		if err := d.node(below); err != nil {
			return err
		}
	}
	for i := range n.records {
		if err := d.record(&n.records[i]); err != nil {
			return err
		}
	}
	return nil
}

// path checks that a path comes after all before it.
func (d *verifier) path(path string) error {
	if d.started && layers.ComparePaths(d.last, path) >= 0 {
		return corrupt("path %.200q is out of order", path)
	}
	d.started, d.last = true, path
	return nil
}

func (d *verifier) record(r *record) error {
	if err := d.path(r.Path); err != nil {
		return err
	}
	switch {
	case r.Path == "" && r.Type != layers.Dir:
		return corrupt("the root is not a directory")
	case r.Type == layers.Hardlink:
		if d.links.add(r.Target) {
			return d.resolve()
		}
		return nil
	case r.Type != layers.Regular:
		return nil
	case r.level > maxListLevel:
		return corrupt("path %.200q: lists of level %d", r.Path, r.level)
	case r.Size > math.MaxInt64-d.seen.Bytes:
		return corrupt("files are too large")
	}
	d.seen.Files++
	d.seen.Bytes += r.Size
	for _, l := range r.lists {
		if d.budget -= l.extents; d.budget < 0 {
			return corrupt("tree of more than %d extents", maxTreeExtents)
		}
		if err := d.list(r.level-1, l); err != nil {
			return fmt.Errorf("path %.200q: %w", r.Path, err)
		}
	}
	return d.extents(r.Extents)
}

// list checks a list and those below it. A file may repeat itself, and so may
// its lists: each is looked at once for what it is said to be.
func (d *verifier) list(level byte, ref listRef) error {
	key := listKey{level, ref}
	if _, seen := d.lists[key]; seen || d.known(ref.id) {
		return nil
	}
	l, err := readList(d.ctx, d.get, level, ref)
	if err != nil {
		return err
	}
	for _, below := range l.refs {
		if err := d.list(level-1, below); err != nil {
			return err
		}
	}
	if len(d.lists) == verifyLists {
		clear(d.lists)
	}
	d.lists[key] = struct{}{}
	return d.extents(l.extents)
}

// extents gathers the chunks of contents and hands them over in batches.
func (d *verifier) extents(xs []layers.Extent) error {
	for _, x := range xs {
		if x.ID.IsZero() {
			continue
		}
		if d.ids = append(d.ids, x.ID); len(d.ids) == verifyContents {
			if err := d.hand(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *verifier) hand() error {
	if len(d.ids) == 0 {
		return nil
	}
	err := d.contents(d.ids)
	d.ids = d.ids[:0]
	return err
}

// resolve looks for the files of the hard links gathered so far.
func (d *verifier) resolve() error {
	targets := d.links.take()
	if len(targets) == 0 {
		return nil
	}
	return resolveLinks(d.ctx, d.get, child{id: d.root.ID, entries: d.root.Entries}, -1, targets)
}
