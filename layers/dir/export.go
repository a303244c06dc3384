package dir

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"satchel/layers"
	"satchel/store"
)

// ExportOptions say how Export works.
type ExportOptions struct {
	// Strict makes it an error when anything in the tree cannot be restored.
	Strict bool
	// Overlay writes the directory as an overlayfs upper layer: whiteouts as
	// character devices 0:0, and opaque directories marked as such.
	Overlay bool
}

// Export writes a tree, with contents from g, into dest, which must be an empty
// directory or not be there yet. The notes tell what the caller's rights or the
// file system did not allow, once for each kind of thing. After an error, dest
// holds a part of the tree.
func Export(ctx context.Context, t layers.Tree, g store.Getter, dest string, opt ExportOptions) ([]layers.Note, error) {
	if err := t.Check(); err != nil {
		return nil, fmt.Errorf("export to %s: %w", dest, err)
	}
	if err := prepare(dest); err != nil {
		return nil, fmt.Errorf("export to %s: %w", dest, err)
	}
	x := &exporter{ctx: ctx, from: store.LenderOf(g), tree: t, dest: dest, opt: opt}
	for _, pass := range []func() error{x.create, x.link, x.finish} {
		if err := pass(); err != nil {
			return nil, fmt.Errorf("export to %s: %w", dest, err)
		}
	}
	notes := x.omitted.list()
	if opt.Strict && len(notes) > 0 {
		return notes, fmt.Errorf("export to %s: %w", dest, NotesError(notes))
	}
	return notes, nil
}

// prepare makes sure that dest is an empty directory.
func prepare(dest string) error {
	if err := os.Mkdir(dest, 0o700); err == nil || !errors.Is(err, os.ErrExist) {
		return err
	}
	f, err := os.Open(dest)
	if err != nil {
		return err
	}
	defer f.Close()
	if names, _ := f.Readdirnames(1); len(names) > 0 {
		return fmt.Errorf("directory is not empty: it holds %q", names[0])
	}
	return nil
}

type exporter struct {
	ctx     context.Context
	from    store.Lender
	tree    layers.Tree
	dest    string
	opt     ExportOptions
	omitted omissions
	located int // the entry from which on chunks are still to be looked up
}

// create makes everything but hard links. Directories are for the owner alone
// until all is in them; files are complete.
func (x *exporter) create() error {
	group, ctx := errgroup.WithContext(x.ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	b := &batch{x: x, ctx: ctx, group: group}
	x.located = len(x.tree) - len(x.tree.Under(""))
	w := &walk{
		tree: x.tree,
		visit: func(fd int, name string, e *layers.Entry) error {
			if err := errors.Join(ctx.Err(), x.locate(ctx, e)); err != nil {
				return err
			}
			if e.Type != layers.Regular {
				return x.node(fd, name, e)
			}
			m, err := createFile(fd, name, e)
			if err != nil {
				return err
			}
			b.add(m)
			return nil
		},
		implied: func(fd int, name string) error { return mkdir(fd, name) },
	}
	err := w.run(x.dest)
	b.flush()
	if gerr := group.Wait(); gerr != nil {
		return gerr // err is most likely due to it
	}
	return err
}

func mkdir(fd int, name string) error {
	if err := unix.Mkdirat(fd, name, 0o700); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	return nil
}

// node makes what has no contents.
func (x *exporter) node(fd int, name string, e *layers.Entry) error {
	var kind uint32
	switch e.Type {
	case layers.Dir:
		return mkdir(fd, name)
	case layers.Hardlink:
		return nil
	case layers.Symlink:
		if err := unix.Symlinkat(e.Target, fd, name); err != nil {
			return fmt.Errorf("make symbolic link: %w", err)
		}
		return x.attributes(handle{fd, name}, e)
	case layers.Fifo:
		kind = unix.S_IFIFO
	case layers.CharDev:
		kind = unix.S_IFCHR
	case layers.BlockDev:
		kind = unix.S_IFBLK
	case layers.Whiteout:
		if !x.opt.Overlay {
			x.omitted.add(e.Path, "a directory cannot hold a whiteout", nil)
			return nil
		}
		kind = unix.S_IFCHR
	}
	err := unix.Mknodat(fd, name, kind|0o600, int(unix.Mkdev(e.Major, e.Minor)))
	if errors.Is(err, unix.EPERM) {
		x.omitted.add(e.Path, "device was not made", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("make %s: %w", e.Type, err)
	}
	if e.Type == layers.Whiteout {
		return nil
	}
	return x.attributes(handle{fd, name}, e)
}

// link makes the hard links. It enters no directory without one.
func (x *exporter) link() error {
	var links layers.Tree
	for i := range x.tree {
		if x.tree[i].Type == layers.Hardlink {
			links = append(links, x.tree[i])
		}
	}
	if len(links) == 0 {
		return nil
	}
	var from stack // of the directory that was linked from last
	defer from.close()
	last := ""
	w := &walk{tree: links, visit: func(fd int, name string, e *layers.Entry) error {
		dir, base := layers.SplitPath(e.Target)
		if len(from) == 0 || dir != last {
			from.close()
			if err := from.open(x.dest, dir); err != nil {
				return err
			}
			last = dir
		}
		err := unix.Linkat(from.fd(), base, fd, name, 0)
		if errors.Is(err, unix.ENOENT) {
			x.omitted.add(e.Path, "hard link to what was not made", err)
			return nil
		}
		if err != nil {
			return fmt.Errorf("make hard link: %w", err)
		}
		return nil
	}}
	return w.run(x.dest)
}

// finish gives directories, the lower ones first, what they carry.
func (x *exporter) finish() error {
	w := &walk{tree: x.tree, leave: func(fd int, e *layers.Entry) error {
		if e == nil {
			return unix.Fchmod(fd, 0o755) // it is only on the way to something
		}
		if err := x.attributes(handle{fd: fd}, e); err != nil {
			return err
		}
		if e.Opaque && x.opt.Overlay {
			return unix.Lsetxattr(procPath(fd, ""), overlayOpaque, []byte("y"), 0)
		}
		if e.Opaque {
			x.omitted.add(e.Path, "a directory cannot be opaque", nil)
		}
		return nil
	}}
	return w.run(x.dest)
}
