// Package mount shows a version's tree as a directory, read-only, by FUSE.
//
// # Vocabulary
//
// A view is a tree and the store that has its contents; a node is one file of
// it that the kernel has asked for. An implied directory is one on the way to
// an entry that has none of its own.
//
// # Invariants
//
//   - Everything that an entry holds is seen: mode, owner, times, attributes,
//     devices, holes; the names of a hard link share an inode number.
//   - Only the user who mounted sees it, and sees all of it: the kernel does
//     not check permissions, because whoever has the store has the contents.
//   - Set-id bits and devices have no effect.
//
// # The one idea
//
// A version never changes, so what the kernel has asked once it may keep for
// good: it is told so, and asks for nothing twice.
package mount

import (
	"context"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"log"
	"os"
	"os/exec"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"satchel/layers"
	"satchel/layers/treefs"
	"satchel/store"
)

// forever is how long the kernel may keep what it was told.
const forever = 365 * 24 * time.Hour

// A Server answers for a mounted tree.
type Server struct {
	dir    string
	server *fuse.Server
}

// Mount shows t, with contents from g, on the directory dir, until
// [Server.Unmount]. Contents are readable until ctx is done. The tree must
// pass [layers.Tree.Check]. An ordinary user needs the program fusermount3.
func Mount(ctx context.Context, t layers.Tree, g store.Getter, dir string) (*Server, error) {
	if err := possible(dir); err != nil {
		return nil, fmt.Errorf("mount on %s: %w", dir, err)
	}
	v := &view{ctx: ctx, tree: t, get: g, names: treefs.New(ctx, t, g), links: countLinks(t)}
	root, err := v.node("")
	if err != nil {
		return nil, fmt.Errorf("mount on %s: %w", dir, err)
	}
	server, err := fs.Mount(dir, root, options(root))
	if err != nil {
		return nil, fmt.Errorf("mount on %s: %w", dir, err)
	}
	return &Server{dir, server}, nil
}

// Wait returns when the tree was unmounted, by [Server.Unmount] or by someone
// else.
func (s *Server) Wait() { s.server.Wait() }

// Unmount ends the mount. It fails while files in it are in use.
func (s *Server) Unmount() error {
	if err := s.server.Unmount(); err != nil {
		return fmt.Errorf("unmount %s: %w", s.dir, err)
	}
	return nil
}

func options(root *node) *fs.Options {
	keep := forever
	return &fs.Options{
		EntryTimeout: &keep, AttrTimeout: &keep, NegativeTimeout: &keep,
		NullPermissions: true, // mode 0 is a mode
		RootStableAttr:  &fs.StableAttr{Mode: root.fileType(), Ino: root.ino},
		Logger:          log.New(io.Discard, "", 0),
		MountOptions: fuse.MountOptions{
			Name: "satchel", FsName: "satchel",
			Options:              []string{"ro", "nosuid", "nodev"},
			DirectMount:          os.Geteuid() == 0,
			DirectMountFlags:     directFlags,
			MaxWrite:             1 << 20, // bounds reads too
			MaxReadAhead:         1 << 20,
			EnableSymlinkCaching: true,
			Logger:               log.New(io.Discard, "", 0),
		},
	}
}

// possible says what keeps the caller from mounting on dir, in words that
// name the remedy.
func possible(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return errors.New("not a directory")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		return fmt.Errorf("this system has no FUSE (load the kernel module fuse): %w", err)
	}
	if os.Geteuid() == 0 {
		return nil
	}
	if err := unix.Access("/dev/fuse", unix.R_OK|unix.W_OK); err != nil {
		return fmt.Errorf("this system lets only root use FUSE: /dev/fuse: %w", err)
	}
	if _, err := exec.LookPath("fusermount3"); err != nil {
		if _, err := os.Stat("/bin/fusermount3"); errors.Is(err, iofs.ErrNotExist) {
			return fmt.Errorf("fusermount3 is not installed: install the package fuse3: %w", exec.ErrNotFound)
		}
	}
	return nil
}
