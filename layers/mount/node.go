package mount

import (
	"context"
	"errors"
	"io"
	iofs "io/fs"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"satchel/layers"
	"satchel/layers/treefs"
)

// A node is a file that the kernel knows. It answers what the kernel asks.
type node struct {
	fs.Inode
	view  *view
	path  string
	entry *layers.Entry // never a hard link
	ino   uint64
	links uint32
}

var (
	_ fs.NodeGetattrer      = (*node)(nil)
	_ fs.NodeLookuper       = (*node)(nil)
	_ fs.NodeReaddirer      = (*node)(nil)
	_ fs.NodeOpendirHandler = (*node)(nil)
	_ fs.NodeReadlinker     = (*node)(nil)
	_ fs.NodeGetxattrer     = (*node)(nil)
	_ fs.NodeListxattrer    = (*node)(nil)
	_ fs.NodeOpener         = (*node)(nil)
	_ fs.NodeReader         = (*node)(nil)
	_ fs.NodeLseeker        = (*node)(nil)
)

// fileTypes has the type bits of stat(2) of each type of file.
var fileTypes = map[layers.Type]uint32{
	layers.Regular:  syscall.S_IFREG,
	layers.Dir:      syscall.S_IFDIR,
	layers.Symlink:  syscall.S_IFLNK,
	layers.CharDev:  syscall.S_IFCHR,
	layers.BlockDev: syscall.S_IFBLK,
	layers.Fifo:     syscall.S_IFIFO,
}

func (n *node) fileType() uint32 { return fileTypes[n.entry.Type] }

// Getattr implements [fs.NodeGetattrer].
func (n *node) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	n.attr(&out.Attr)
	return 0
}

// attr fills in what stat(2) tells. The link count of a directory is 1, which
// says that its subdirectories are not counted.
func (n *node) attr(a *fuse.Attr) {
	e := n.entry
	*a = fuse.Attr{
		Ino: n.ino, Nlink: n.links, Mode: n.fileType() | uint32(e.Mode), Owner: fuse.Owner{Uid: e.UID, Gid: e.GID},
		Mtime: uint64(e.ModTime.Sec), Mtimensec: e.ModTime.Nsec,
		Ctime: uint64(e.ModTime.Sec), Ctimensec: e.ModTime.Nsec,
		Atime: uint64(e.ModTime.Sec), Atimensec: e.ModTime.Nsec,
		Blksize: 1 << 16,
	}
	switch e.Type {
	case layers.Regular:
		a.Size = uint64(e.Size)
		a.Blocks = uint64(allocated(e)+511) / 512
	case layers.Symlink:
		a.Size = uint64(len(e.Target))
	case layers.CharDev, layers.BlockDev:
		a.Rdev = uint32(unix.Mkdev(e.Major, e.Minor))
	}
}

// Lookup implements [fs.NodeLookuper].
func (n *node) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	child, err := n.view.node(n.child(name))
	if err != nil {
		return nil, errno(err)
	}
	child.attr(&out.Attr)
	return n.NewInode(ctx, child, fs.StableAttr{Mode: child.fileType(), Ino: child.ino}), 0
}

func (n *node) child(name string) string {
	if n.path == "" {
		return name
	}
	return n.path + "/" + name
}

// Readdir implements [fs.NodeReaddirer].
func (n *node) Readdir(context.Context) (fs.DirStream, syscall.Errno) {
	name := n.path
	if name == "" {
		name = "."
	}
	list, err := n.view.names.ReadDir(name)
	if err != nil {
		return nil, errno(err)
	}
	entries := make([]fuse.DirEntry, 0, len(list))
	for _, d := range list {
		info, err := d.Info()
		if err != nil {
			return nil, errno(err)
		}
		ino, _ := n.view.number(n.child(d.Name()))
		e := info.Sys().(*layers.Entry)
		entries = append(entries, fuse.DirEntry{Name: d.Name(), Mode: fileTypes[e.Type], Ino: ino})
	}
	return fs.NewListDirStream(entries), 0
}

// OpendirHandle implements [fs.NodeOpendirHandler]: the kernel may keep the
// list.
func (n *node) OpendirHandle(ctx context.Context, _ uint32) (fs.FileHandle, uint32, syscall.Errno) {
	list, errno := n.Readdir(ctx)
	if errno != 0 {
		return nil, 0, errno
	}
	return list, fuse.FOPEN_CACHE_DIR | fuse.FOPEN_KEEP_CACHE, 0
}

// Readlink implements [fs.NodeReadlinker].
func (n *node) Readlink(context.Context) ([]byte, syscall.Errno) {
	return []byte(n.entry.Target), 0
}

// Getxattr implements [fs.NodeGetxattrer].
func (n *node) Getxattr(_ context.Context, name string, dest []byte) (uint32, syscall.Errno) {
	value, ok := xattr(n.entry, name)
	if !ok {
		return 0, syscall.ENODATA
	}
	return fill(dest, value)
}

// Listxattr implements [fs.NodeListxattrer].
func (n *node) Listxattr(_ context.Context, dest []byte) (uint32, syscall.Errno) {
	var names []byte
	for _, x := range n.entry.Xattrs {
		names = append(append(names, x.Name...), 0)
	}
	return fill(dest, names)
}

// fill copies a value of which the caller may not know the size yet.
func fill(dest, value []byte) (uint32, syscall.Errno) {
	if len(dest) < len(value) {
		return uint32(len(value)), syscall.ERANGE
	}
	return uint32(copy(dest, value)), 0
}

// Open implements [fs.NodeOpener].
func (n *node) Open(_ context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	if flags&syscall.O_ACCMODE != syscall.O_RDONLY {
		return nil, 0, syscall.EROFS
	}
	return treefs.Open(n.view.ctx, n.view.get, n.entry), fuse.FOPEN_KEEP_CACHE, 0
}

// Read implements [fs.NodeReader].
func (n *node) Read(_ context.Context, h fs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	read, err := h.(*treefs.File).ReadAt(dest, off)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, syscall.EIO
	}
	return fuse.ReadResultData(dest[:read]), 0
}

// Lseek implements [fs.NodeLseeker]: it tells where holes are.
func (n *node) Lseek(_ context.Context, _ fs.FileHandle, off uint64, whence uint32) (uint64, syscall.Errno) {
	if whence != unix.SEEK_DATA && whence != unix.SEEK_HOLE {
		return 0, syscall.EINVAL
	}
	at, ok := nextData(n.entry, int64(off), whence == unix.SEEK_DATA)
	if !ok {
		return 0, syscall.ENXIO
	}
	return uint64(at), 0
}

func errno(err error) syscall.Errno {
	var known syscall.Errno
	switch {
	case errors.As(err, &known):
		return known
	case errors.Is(err, iofs.ErrNotExist):
		return syscall.ENOENT
	}
	return syscall.EIO
}
