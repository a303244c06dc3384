// Package treefs shows a tree of layers, with contents from a store, as an
// [fs.FS].
//
// # Vocabulary
//
// Names are those of [fs.FS], with the root as ".", except that any bytes are
// taken that a tree takes. An implied directory is one on the way to an entry
// that has no entry of its own; it seems to be owned by root with mode 0755.
//
// # Invariants
//
//   - Nothing outside the tree is ever reached: an absolute symbolic link, and
//     "..", stay below the root.
//   - Whiteouts and what lies below them do not exist here; a hard link is the
//     file that it names.
//
// # The one idea
//
// A tree in order is its own index: everything below a directory is one run of
// it, so each look-up is a binary search and nothing is built beforehand.
package treefs

import (
	"context"
	"io/fs"
	"strings"

	"satchel/layers"
	"satchel/store"
)

// maxLinks is how many symbolic links one look-up follows, as in Linux.
const maxLinks = 40

// An FS is a tree as a file system. It implements [fs.StatFS],
// [fs.ReadFileFS], [fs.ReadDirFS] and [fs.ReadLinkFS], and may be used by
// several goroutines at once.
type FS struct {
	ctx  context.Context
	tree layers.Tree
	get  store.Getter
}

var (
	_ fs.StatFS     = (*FS)(nil)
	_ fs.ReadFileFS = (*FS)(nil)
	_ fs.ReadDirFS  = (*FS)(nil)
	_ fs.ReadLinkFS = (*FS)(nil)
)

// New returns t as a file system that reads contents from g until ctx is done.
// The tree must pass [layers.Tree.Check].
func New(ctx context.Context, t layers.Tree, g store.Getter) *FS {
	return &FS{ctx, t, g}
}

// Entry returns the entry at name, as Lstat finds it, with a hard link resolved
// and an implied directory made up. Its Path is that of name.
func (f *FS) Entry(name string) (*layers.Entry, error) {
	return f.lookup("lstat", name, false)
}

// Stat returns what is at name and follows symbolic links. Sys of the result is
// a [*layers.Entry].
func (f *FS) Stat(name string) (fs.FileInfo, error) {
	e, err := f.lookup("stat", name, true)
	if err != nil {
		return nil, err
	}
	return newInfo(name, e), nil
}

// Lstat returns what is at name, be it a symbolic link.
func (f *FS) Lstat(name string) (fs.FileInfo, error) {
	e, err := f.lookup("lstat", name, false)
	if err != nil {
		return nil, err
	}
	return newInfo(name, e), nil
}

// ReadLink returns where the symbolic link at name points.
func (f *FS) ReadLink(name string) (string, error) {
	e, err := f.lookup("readlink", name, false)
	if err != nil {
		return "", err
	}
	if e.Type != layers.Symlink {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
	}
	return e.Target, nil
}

// lookup finds the entry at name. Symbolic links on the way are followed, one
// at its end only if last is set.
func (f *FS) lookup(op, name string, last bool) (*layers.Entry, error) {
	bad := func(err error) (*layers.Entry, error) {
		return nil, &fs.PathError{Op: op, Path: name, Err: err}
	}
	if name == "" || name == "." {
		name = "."
	} else if layers.CheckPath(name) != nil {
		return bad(fs.ErrInvalid)
	}
	e := f.at("")
	links := 0
	for rest := name; rest != ""; {
		var elem string
		elem, rest, _ = strings.Cut(rest, "/")
		if elem == "" || elem == "." {
			continue
		}
		if e.Type != layers.Dir {
			return bad(errNotDir)
		}
		if elem == ".." {
			dir, _ := layers.SplitPath(e.Path)
			e = f.at(dir)
			continue
		}
		next := f.at(join(e.Path, elem))
		if next == nil {
			return bad(fs.ErrNotExist)
		}
		if next.Type != layers.Symlink || rest == "" && !last {
			e = next
			continue
		}
		if links++; links > maxLinks || len(next.Target)+len(rest) > 2*layers.MaxPath {
			return bad(errLoop)
		}
		if strings.HasPrefix(next.Target, "/") {
			e = f.at("")
		}
		rest = next.Target + "/" + rest
	}
	return e, nil
}

// at returns the entry at a path of the tree, or nil.
func (f *FS) at(p string) *layers.Entry {
	e := f.tree.Find(p)
	if e == nil {
		if lo, hi := f.below(p); p == "" || lo < hi {
			return &layers.Entry{Path: p, Type: layers.Dir, Mode: 0o755}
		}
		return nil
	}
	switch e.Type {
	case layers.Whiteout:
		return nil
	case layers.Hardlink:
		first := f.tree.Resolve(e)
		if first == nil {
			return nil
		}
		named := *first
		named.Path = p
		return &named
	}
	return e
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}
