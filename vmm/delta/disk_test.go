package delta

import (
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"satchel/layers"
	"satchel/store"
)

// needRoot skips a test that mounts when it can not.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root to mount a loop device")
	}
}

// newDisk makes a fresh delta disk.
func newDisk(t *testing.T, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "delta.img")
	if err := Create(t.Context(), path, size); err != nil {
		t.Fatal(err)
	}
	return path
}

// mount mounts a disk and returns where, and a function that unmounts it. The
// disk is unmounted at the end of the test in any case.
func mount(t *testing.T, path string) (string, func()) {
	t.Helper()
	needRoot(t)
	dir := filepath.Join(t.TempDir(), "mnt")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	command(t, "mount", "-o", "loop", path, dir)
	mounted := true
	unmount := func() {
		if mounted {
			mounted = false
			command(t, "umount", dir)
			// Another process's mount namespace that was made meanwhile, as other
			// tests do, keeps the file system mounted until it ends.
			for range 600 {
				if command(t, "losetup", "-j", path) == "" {
					return
				}
				time.Sleep(50 * time.Millisecond)
			}
			t.Fatalf("%s stays mounted somewhere", path)
		}
	}
	t.Cleanup(unmount)
	return dir, unmount
}

// fill mounts a disk, makes its upper directory, lets f fill it, and unmounts.
func fill(t *testing.T, path string, f func(upper string)) {
	t.Helper()
	dir, unmount := mount(t, path)
	upper := filepath.Join(dir, UpperDir)
	if err := os.MkdirAll(upper, 0o755); err != nil {
		t.Fatal(err)
	}
	f(upper)
	unmount()
}

func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func digest(t *testing.T, path string) store.ID {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return store.ID(h.Sum(nil))
}

// A sums is an Ingester that makes a chunk of each block, as a plain list of
// their sums.
type sums struct{ err error }

const sumBlock = 4096

func (s *sums) Add(e *layers.Entry, open func() (io.ReadCloser, error)) {
	r, err := open()
	if err != nil {
		s.err = errors.Join(s.err, err)
		return
	}
	e.Size, e.Extents, err = blocks(r)
	s.err = errors.Join(s.err, err, r.Close())
}

func (s *sums) Wait() error { return s.err }

func blocks(r io.Reader) (size int64, list []layers.Extent, err error) {
	b := make([]byte, sumBlock)
	for {
		n, err := io.ReadFull(r, b)
		if n > 0 {
			list = append(list, layers.Extent{ID: sha256.Sum256(b[:n]), Len: int64(n)})
			size += int64(n)
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return size, list, nil
		}
		if err != nil {
			return 0, nil, err
		}
	}
}

// kernelBlocks is what Read should make of a file, by way of the kernel.
func kernelBlocks(t *testing.T, path string) (size int64, list []layers.Extent) {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	info, err := f.Stat()
	must(t, err)
	size = info.Size()
	for at := int64(0); at < size; {
		start, err := f.Seek(at, unix.SEEK_DATA)
		if err != nil {
			return size, append(list, layers.Extent{Len: size - at})
		}
		if start > at {
			list = append(list, layers.Extent{Len: start - at})
		}
		end, err := f.Seek(start, unix.SEEK_HOLE)
		must(t, err)
		_, data, err := blocks(io.NewSectionReader(f, start, end-start))
		must(t, err)
		list = append(list, data...)
		at = end
	}
	return size, list
}
