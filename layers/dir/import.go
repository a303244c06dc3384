package dir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"satchel/layers"
	"satchel/layers/ingest"
)

// Options say how Import works.
type Options struct {
	// Exclude, if not nil, is asked for each path but the root; what it returns
	// true for is left out with all that is below it.
	Exclude func(path string) bool
	// CrossFileSystems takes in what is mounted below the root. Else a mount
	// point is an empty directory.
	CrossFileSystems bool
	// Overlay reads the directory as an overlayfs upper layer: character
	// devices 0:0 are whiteouts, and directories may be opaque.
	Overlay bool
	// Known, if not nil, is what the last import of the same directory with the
	// same options found; the zero Known is that of a first one. What has not
	// changed since is taken from there. An import that succeeds puts there what
	// it found. The chunks of Known must be in the store that pl puts into, and
	// stay there; else the entry's stamp must be zero.
	Known *Known
}

// Import returns the tree of the directory at root, whose contents it stores
// through pl, for which it waits. The notes tell of sockets, which no tree
// holds. A file that changes meanwhile may be stored half old, half new.
func Import(ctx context.Context, root string, pl *ingest.Pipeline, opt Options) (layers.Tree, []layers.Note, error) {
	return importAt(ctx, time.Now(), root, pl, opt)
}

func importAt(ctx context.Context, begun time.Time, root string, pl *ingest.Pipeline, opt Options) (layers.Tree, []layers.Note, error) {
	w := &importer{ctx: ctx, pl: pl, opt: opt, known: opt.Known, begun: begun, first: map[inode]string{}}
	if w.known == nil {
		w.known = &Known{}
	}
	w.known.at = 0
	defer w.stack.close()
	err := w.root(root)
	if werr := pl.Wait(); err == nil {
		err = werr
	}
	if err != nil {
		return nil, nil, fmt.Errorf("import %s: %w", root, err)
	}
	tree, err := w.tree()
	if err != nil {
		return nil, nil, fmt.Errorf("import %s: %w", root, err)
	}
	return tree, w.notes, nil
}

// tree returns what was found, which is known from then on.
func (w *importer) tree() (layers.Tree, error) {
	k := w.known
	k.Same = w.taken == len(w.entries) && w.taken == len(k.Tree)
	if k.Same {
		return k.Tree, nil
	}
	tree := make(layers.Tree, len(w.entries))
	for i, e := range w.entries {
		tree[i] = *e
	}
	if err := tree.Check(); err != nil {
		return nil, err
	}
	k.Tree, k.Stamps = tree, w.stamps
	return tree, nil
}

type inode struct{ dev, ino uint64 }

type importer struct {
	ctx     context.Context
	pl      *ingest.Pipeline
	opt     Options
	stack   stack
	dev     uint64           // of the root
	first   map[inode]string // first path of each file that has several
	entries []*layers.Entry  // in order
	stamps  []Stamp          // of the entries
	notes   []layers.Note
	known   *Known
	taken   int       // entries that are the known ones
	begun   time.Time // the import
	buf     []byte    // for extended attributes
	listing []byte    // for names
}

func (w *importer) root(path string) error {
	if err := w.stack.push(path); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(w.stack.fd(), &st); err != nil {
		return err
	}
	w.dev = st.Dev
	e := entryOf("", &st)
	if !w.take(e, &st) {
		if err := w.xattrs(e, ""); err != nil {
			return err
		}
		w.add(e, stampOf(&st, w.begun))
	}
	return w.list("")
}

func (w *importer) add(e *layers.Entry, stamp Stamp) {
	w.entries, w.stamps = append(w.entries, e), append(w.stamps, stamp)
}

// take adds the known entry of a file if the file has not changed since.
func (w *importer) take(e *layers.Entry, st *unix.Stat_t) bool {
	old, stamp := w.known.take(e, st)
	if old == nil {
		return false
	}
	w.add(old, stamp)
	w.taken++
	return true
}

// plain adds an entry that carries nothing, and so needs no stamp.
func (w *importer) plain(e *layers.Entry) {
	w.add(e, Stamp{})
	if old := w.known.find(e.Path); old != nil && old.SameContent(e) {
		w.taken++
	}
}

// list imports what is in the top directory, which is at path.
func (w *importer) list(path string) error {
	names, err := w.readNames()
	if err != nil {
		return fmt.Errorf("read directory %q: %w", path, err)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		p := name
		if path != "" {
			p = path + "/" + name
		}
		if err := w.file(p, name); err != nil {
			return err
		}
	}
	return nil
}

// readNames lists the top directory, which was not listed before.
func (w *importer) readNames() (names []string, err error) {
	if w.listing == nil {
		w.listing = make([]byte, 1<<16)
	}
	for {
		var n int
		err := retry(func() (err error) { n, err = unix.ReadDirent(w.stack.fd(), w.listing); return err })
		if err != nil || n == 0 {
			return names, err
		}
		_, _, names = unix.ParseDirent(w.listing[:n], -1, names)
	}
}

// file imports the file of that name in the top directory.
func (w *importer) file(path, name string) error {
	if w.opt.Exclude != nil && w.opt.Exclude(path) {
		return nil
	}
	var st unix.Stat_t
	err := unix.Fstatat(w.stack.fd(), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return nil // removed since the directory was read
	}
	if err != nil {
		return fmt.Errorf("stat %q: %w", path, err)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFSOCK {
		w.notes = append(w.notes, layers.Note{Path: path, Reason: "a socket has no meaning without its process"})
		return nil
	}
	e := entryOf(path, &st)
	if w.opt.Overlay && e.Type == layers.CharDev && e.Major == 0 && e.Minor == 0 {
		w.plain(&layers.Entry{Path: path, Type: layers.Whiteout})
		return nil
	}
	if e.Type != layers.Dir && st.Nlink > 1 {
		if first, ok := w.first[inode{st.Dev, st.Ino}]; ok {
			w.plain(&layers.Entry{Path: path, Type: layers.Hardlink, Target: first})
			return nil
		}
	}
	if !w.take(e, &st) {
		if err := w.carry(e, name, &st); err != nil {
			if errors.Is(err, unix.ENOENT) {
				return nil
			}
			return fmt.Errorf("import %q: %w", path, err)
		}
	}
	if st.Nlink > 1 && e.Type != layers.Dir {
		w.first[inode{st.Dev, st.Ino}] = path
	}
	if e.Type != layers.Dir || st.Dev != w.dev && !w.opt.CrossFileSystems {
		return nil
	}
	if err := w.stack.push(name); err != nil {
		return fmt.Errorf("import %q: %w", path, err)
	}
	if err := w.list(path); err != nil {
		return err
	}
	return w.stack.pop(nil)
}

// carry reads what a file carries and adds its entry.
func (w *importer) carry(e *layers.Entry, name string, st *unix.Stat_t) error {
	var f *os.File
	switch e.Type {
	case layers.Symlink:
		target, err := readLink(w.stack.fd(), name, st.Size)
		if err != nil {
			return err
		}
		e.Target = target
	case layers.Regular:
		var err error
		if f, err = openFile(w.stack.fd(), name, e.Path); err != nil {
			return err
		}
	}
	if err := w.xattrs(e, name); err != nil {
		if f != nil {
			f.Close()
		}
		return err
	}
	w.add(e, stampOf(st, w.begun))
	if f != nil {
		w.pl.Add(e, func() (io.ReadCloser, error) { return f, nil })
	}
	return nil
}

// openFile opens a regular file for reading, without a trace if allowed.
func openFile(at int, name, path string) (*os.File, error) {
	flags := unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
	var fd int
	err := retry(func() (err error) { fd, err = unix.Openat(at, name, flags|unix.O_NOATIME, 0); return err })
	if errors.Is(err, unix.EPERM) { // it belongs to somebody else
		err = retry(func() (err error) { fd, err = unix.Openat(at, name, flags, 0); return err })
	}
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}

func readLink(at int, name string, size int64) (string, error) {
	b := make([]byte, max(size, 255)+1)
	for {
		n, err := unix.Readlinkat(at, name, b)
		if err != nil {
			return "", err
		}
		if n < len(b) {
			return string(b[:n]), nil
		}
		b = make([]byte, 2*len(b))
	}
}

var typeOf = map[uint32]layers.Type{
	unix.S_IFREG: layers.Regular,
	unix.S_IFDIR: layers.Dir,
	unix.S_IFLNK: layers.Symlink,
	unix.S_IFCHR: layers.CharDev,
	unix.S_IFBLK: layers.BlockDev,
	unix.S_IFIFO: layers.Fifo,
}

// entryOf returns the entry of a file, as far as stat tells.
func entryOf(path string, st *unix.Stat_t) *layers.Entry {
	e := &layers.Entry{
		Path:    path,
		Type:    typeOf[st.Mode&unix.S_IFMT],
		Mode:    uint16(st.Mode & 0o7777),
		UID:     st.Uid,
		GID:     st.Gid,
		ModTime: layers.Time{Sec: st.Mtim.Sec, Nsec: uint32(st.Mtim.Nsec)},
	}
	switch e.Type {
	case layers.Regular:
		e.Size = st.Size
	case layers.CharDev, layers.BlockDev:
		e.Major, e.Minor = unix.Major(st.Rdev), unix.Minor(st.Rdev)
	}
	return e
}

// xattrs reads the extended attributes of a file in the top directory.
func (w *importer) xattrs(e *layers.Entry, name string) error {
	if w.buf == nil {
		w.buf = make([]byte, 1<<16) // as long as the kernel makes a value or list
	}
	p := procPath(w.stack.fd(), name)
	n, err := unix.Llistxattr(p, w.buf)
	if errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list extended attributes: %w", err)
	}
	for key := range strings.SplitSeq(strings.TrimSuffix(string(w.buf[:n]), "\x00"), "\x00") {
		if key == "" {
			continue
		}
		n, err := unix.Lgetxattr(p, key, w.buf)
		if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP) {
			continue // removed meanwhile, or not for us to see
		}
		if err != nil {
			return fmt.Errorf("read extended attribute %s: %w", key, err)
		}
		if strings.HasPrefix(key, overlayPrefix) {
			if w.opt.Overlay && key == overlayOpaque && string(w.buf[:n]) == "y" && e.Type == layers.Dir {
				e.Opaque = true
			}
			continue
		}
		e.Xattrs = append(e.Xattrs, layers.Xattr{Name: key, Value: slices.Clone(w.buf[:n])})
	}
	slices.SortFunc(e.Xattrs, func(a, b layers.Xattr) int { return strings.Compare(a.Name, b.Name) })
	return nil
}
