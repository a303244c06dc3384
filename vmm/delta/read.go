package delta

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"satchel/layers"
	"satchel/vmm/delta/ext4"
)

// Read captures a clean delta disk: it returns the upper directory as a tree
// of changes, with whiteouts and opaque directories, and gives the contents of
// files to pl, for which it waits. It fails with [ErrDirty] when the disk has
// to be replayed first. A disk without an upper directory has no changes.
func Read(ctx context.Context, path string, pl Ingester) (layers.Tree, []layers.Note, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("open delta disk: %w", err)
	}
	defer f.Close()
	fs, err := ext4.Open(f)
	if err != nil {
		return nil, nil, fmt.Errorf("read delta disk %s: %w", path, err)
	}
	w := &walk{ctx: ctx, fs: fs, first: make(map[uint32]int), dirs: make(map[uint32]bool)}
	if err := w.upper(); err != nil {
		return nil, nil, fmt.Errorf("read delta disk %s: %w", path, err)
	}
	if err := w.ingest(pl); err != nil {
		return nil, nil, fmt.Errorf("read delta disk %s: %w", path, err)
	}
	return w.tree, w.notes, nil
}

// A walk goes through a directory in the order of trees.
type walk struct {
	ctx   context.Context
	fs    *ext4.FS
	tree  layers.Tree
	notes []layers.Note
	files []file
	first map[uint32]int  // where in tree the first name of an inode is
	dirs  map[uint32]bool // directories on the way or done
}

// A file is a regular file whose contents are to be read.
type file struct {
	at    int // where in tree its entry is
	inode *ext4.Inode
}

// upper finds the directories in the root that concern a capture.
func (w *walk) upper() error {
	root, err := w.fs.Inode(ext4.Root)
	if err != nil {
		return err
	}
	names, err := w.fs.ReadDir(root)
	if err != nil {
		return err
	}
	for _, d := range names {
		switch d.Name {
		case UpperDir:
			err = w.visit("", d.Inode)
		case "lost+found":
			err = w.lost(d.Inode)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// lost notes what a repair could not put back in its place.
func (w *walk) lost(n uint32) error {
	dir, err := w.fs.Inode(n)
	if err != nil {
		return err
	}
	names, err := w.fs.ReadDir(dir)
	if err != nil {
		return err
	}
	if len(names) > 0 {
		w.notes = append(w.notes, layers.Note{Reason: fmt.Sprintf(
			"%d files that a repair found without a name stay in lost+found of the delta disk", len(names))})
	}
	return nil
}

// visit adds the file at path, and all that is in it.
func (w *walk) visit(path string, n uint32) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	if err := layers.CheckPath(path); err != nil {
		return err
	}
	if at, ok := w.first[n]; ok {
		w.tree = append(w.tree, again(&w.tree[at], path))
		return nil
	}
	inode, err := w.fs.Inode(n)
	if err != nil {
		return fmt.Errorf("%q: %w", path, err)
	}
	e := layers.Entry{Path: path, Mode: inode.Mode & 0o7777, UID: inode.UID, GID: inode.GID, ModTime: inode.ModTime}
	if inode.Mode&ext4.TypeMask == ext4.TypeSocket {
		w.notes = append(w.notes, layers.Note{Path: path, Reason: "sockets are not kept: the program that made it makes it anew"})
		return nil
	}
	if err := w.fill(&e, inode); err != nil {
		return fmt.Errorf("%q: %w", path, err)
	}
	if inode.Protected() {
		w.notes = append(w.notes, layers.Note{Path: path, Reason: "kept without its immutable or append-only mark"})
	}
	w.tree = append(w.tree, e)
	switch e.Type {
	case layers.Dir:
		return w.children(path, inode)
	case layers.Regular:
		w.files = append(w.files, file{len(w.tree) - 1, inode})
	}
	w.first[n] = len(w.tree) - 1
	return nil
}

// again returns the entry for a further name of a file. Whiteouts share one
// inode, but each stands for itself.
func again(first *layers.Entry, path string) layers.Entry {
	if first.Type == layers.Whiteout {
		return layers.Entry{Path: path, Type: layers.Whiteout}
	}
	return layers.Entry{Path: path, Type: layers.Hardlink, Target: first.Path}
}

// fill sets what the type of file carries, and the attributes.
func (w *walk) fill(e *layers.Entry, inode *ext4.Inode) (err error) {
	switch inode.Mode & ext4.TypeMask {
	case ext4.TypeRegular:
		e.Type = layers.Regular
	case ext4.TypeDir:
		e.Type = layers.Dir
	case ext4.TypeFifo:
		e.Type = layers.Fifo
	case ext4.TypeSymlink:
		e.Type = layers.Symlink
		if e.Target, err = w.fs.Readlink(inode); err != nil {
			return err
		}
	case ext4.TypeCharDev, ext4.TypeBlock:
		e.Type = layers.BlockDev
		e.Major, e.Minor = inode.Device()
		if inode.Mode&ext4.TypeMask == ext4.TypeCharDev {
			e.Type = layers.CharDev
			if e.Major == 0 && e.Minor == 0 {
				*e = layers.Entry{Path: e.Path, Type: layers.Whiteout}
				return nil
			}
		}
	default:
		return fmt.Errorf("inode %d has the unknown mode %#o", inode.Number, inode.Mode)
	}
	attrs, err := w.fs.Xattrs(inode)
	if err != nil {
		return err
	}
	return overlay(e, attrs)
}

// children visits a directory's entries. A directory that has two names would
// be a loop.
func (w *walk) children(path string, dir *ext4.Inode) error {
	if w.dirs[dir.Number] {
		return fmt.Errorf("%q: directory %d has a second name", path, dir.Number)
	}
	w.dirs[dir.Number] = true
	names, err := w.fs.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("%q: %w", path, err)
	}
	for _, d := range names {
		child := d.Name
		if path != "" {
			child = path + "/" + d.Name
		}
		if err := w.visit(child, d.Inode); err != nil {
			return err
		}
	}
	return nil
}

// Attributes by which overlayfs marks what is in its upper directory. What a
// program in the guest sets under that name itself, as a container engine
// does, overlayfs keeps one level deeper.
//
// Source: https://docs.kernel.org/filesystems/overlayfs.html.
const (
	overlayPrefix = "trusted.overlay."
	nestedPrefix  = overlayPrefix + "overlay."
)

// overlay sets the attributes of an entry, but those of overlayfs only as far
// as they are the guest's own.
func overlay(e *layers.Entry, attrs []layers.Xattr) error {
	for _, x := range attrs {
		mark, ours := strings.CutPrefix(x.Name, overlayPrefix)
		switch {
		case !ours:
		case strings.HasPrefix(x.Name, nestedPrefix):
			x.Name = overlayPrefix + strings.TrimPrefix(x.Name, nestedPrefix)
		case mark == "opaque":
			e.Opaque = e.Type == layers.Dir && string(x.Value) == "y"
			continue
		case mark == "redirect" || mark == "metacopy":
			return fmt.Errorf("overlay mark %q: the contents are in a layer below: %w", mark, ext4.ErrUnsupported)
		default:
			continue
		}
		e.Xattrs = append(e.Xattrs, x)
	}
	slices.SortFunc(e.Xattrs, func(a, b layers.Xattr) int { return strings.Compare(a.Name, b.Name) })
	return nil
}

// ingest hands out the contents. The tree is complete by now, so its entries
// stay where they are.
func (w *walk) ingest(pl Ingester) error {
	var holes []*sparse
	var failed error
	for _, f := range w.files {
		if failed = w.ctx.Err(); failed != nil {
			break
		}
		e := &w.tree[f.at]
		r, err := w.fs.File(f.inode)
		if err != nil {
			failed = fmt.Errorf("%q: %w", e.Path, err)
			break
		}
		if s := add(pl, e, r); s != nil {
			holes = append(holes, s)
		}
	}
	// The disk is read until Wait returns, whatever else went wrong.
	if err := errors.Join(failed, pl.Wait()); err != nil {
		return err
	}
	for _, s := range holes {
		s.join()
	}
	return nil
}
