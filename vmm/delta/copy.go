package delta

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// Copy copies a delta disk, sharing its blocks where the host's file system
// can and otherwise skipping its holes. What is at to is replaced once the
// copy is whole. The caller sees to it that nobody writes to from meanwhile: a
// running guest is frozen.
//
// The copy may not survive a power cut. It is made to be captured and thrown
// away, and a guest should not stand still until a slow disk has it.
func Copy(ctx context.Context, from, to string) error {
	tmp := to + ".copying"
	defer os.Remove(tmp)
	if err := clone(ctx, from, tmp); err != nil {
		return fmt.Errorf("copy delta disk %s: %w", from, err)
	}
	if err := os.Rename(tmp, to); err != nil {
		return fmt.Errorf("copy delta disk %s: %w", from, err)
	}
	return nil
}

// clone copies a file, not durably.
func clone(ctx context.Context, from, to string) (err error) {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	if unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())) == nil {
		return nil
	}
	info, err := src.Stat()
	if err != nil {
		return err
	}
	if err := dst.Truncate(info.Size()); err != nil {
		return err
	}
	return copyData(ctx, dst, src)
}

// slice bounds, in bytes, how much is copied before the context is asked.
const slice = 16 << 20

// copyData copies the parts of src that are not holes to the same places.
func copyData(ctx context.Context, dst, src *os.File) error {
	for off := int64(0); ; {
		start, err := src.Seek(off, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil
		}
		if err != nil {
			return err
		}
		end, err := src.Seek(start, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		for off = start; off < end; {
			if err := ctx.Err(); err != nil {
				return err
			}
			n := min(slice, end-off)
			if err := copyRange(dst, src, off, n); err != nil {
				return err
			}
			off += n
		}
	}
}

// copyRange copies n bytes at off. [io.CopyN] between files lets the kernel do
// it where it can.
func copyRange(dst, src *os.File, off, n int64) error {
	for _, f := range []*os.File{src, dst} {
		if _, err := f.Seek(off, io.SeekStart); err != nil {
			return err
		}
	}
	_, err := io.CopyN(dst, src, n)
	return err
}

// syncFile makes the contents of a file durable.
func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// syncParent makes the name of path durable.
func syncParent(path string) error {
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// allocated is how many bytes a file takes on its disk.
func allocated(info fs.FileInfo) int64 {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return info.Size()
	}
	return st.Blocks * 512
}
