package delta

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"satchel/store"
)

// Limits of a delta disk's size, in bytes.
const (
	MinSize = 32 << 20
	MaxSize = 16 << 40
)

// features are named in full, so that the tool's defaults, which change from
// release to release, never make a disk that an older guest can not mount.
// All are known to kernels from 3.18 on.
const features = "none,has_journal,ext_attr,dir_index,filetype,extent,64bit,flex_bg," +
	"sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum"

// Create makes a fresh delta disk of size bytes at path. It fails with
// [store.ErrExist] when something is there: a delta disk is never replaced.
func Create(ctx context.Context, path string, size int64) error {
	if size < MinSize || size > MaxSize {
		return fmt.Errorf("delta disk of %d bytes: want %d to %d", size, int64(MinSize), int64(MaxSize))
	}
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("delta disk %s: %w", path, store.ErrExist)
	}
	mke2fs, err := findTool("mke2fs")
	if err != nil {
		return err
	}
	tmp := path + ".creating"
	defer os.Remove(tmp)
	if err := emptyFile(tmp, size); err != nil {
		return fmt.Errorf("create delta disk: %w", err)
	}
	if out, err := run(ctx, mke2fs, createArgs(tmp, size)...); err != nil {
		return fmt.Errorf("create delta disk %s: mke2fs: %w%s", path, err, detail(out))
	}
	if err := syncFile(tmp); err != nil {
		return fmt.Errorf("create delta disk: %w", err)
	}
	// A link, unlike a rename, fails when the name is taken.
	if err := os.Link(tmp, path); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("delta disk %s: %w", path, store.ErrExist)
		}
		return fmt.Errorf("create delta disk: %w", err)
	}
	return syncParent(path)
}

// createArgs returns mke2fs's arguments. With discard, the tool knows that the
// file reads as zeros and says so in the file system: the guest then does not
// spend its first minutes, and the host's disk, on zeroing inode tables. The
// journal is kept small because it is part of every copy.
func createArgs(path string, size int64) []string {
	journal := min(max(size>>24, 4), 32) // MiB: a sixteenth, but 4 to 32
	return []string{
		"-q", "-F", "-t", "ext4", "-L", Label, "-m", "0",
		"-b", "4096", "-I", "256", "-O", features,
		"-J", "size=" + strconv.FormatInt(journal, 10),
		"-E", "discard,lazy_itable_init=1,lazy_journal_init=1,root_owner=0:0",
		path,
	}
}

func emptyFile(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(size), f.Close())
}
