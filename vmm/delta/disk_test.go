package delta

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

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

// A sums is an Ingester that keeps, in place of its chunks, one sum of a
// file's contents.
type sums struct{ err error }

func (s *sums) Add(e *layers.Entry, open func() (io.ReadCloser, error)) {
	r, err := open()
	if err != nil {
		s.err = errors.Join(s.err, err)
		return
	}
	c := r.(*contents)
	id, err := sum(c, c.Size(), c.Data)
	s.err = errors.Join(s.err, err, r.Close())
	if e.Size = c.Size(); e.Size > 0 {
		e.Extents = []layers.Extent{{ID: id, Len: e.Size}}
	}
}

func (s *sums) Wait() error { return s.err }

// sum hashes the blocks of a file that are not zero, with their places. It
// reads what data names only, so that holes cost nothing.
func sum(r io.ReaderAt, size int64, data func(int64) (int64, int64)) (store.ID, error) {
	h := sha256.New()
	const block = 4096
	b, zeros := make([]byte, block), make([]byte, block)
	for off, end := data(0); off < size; off, end = data(end) {
		for off = off / block * block; off < end; off += block {
			n, err := r.ReadAt(b, off)
			if err != nil && !errors.Is(err, io.EOF) {
				return store.ID{}, err
			}
			if !bytes.Equal(b[:n], zeros[:n]) {
				h.Write(binary.LittleEndian.AppendUint64(nil, uint64(off)))
				h.Write(b[:n])
			}
		}
	}
	return store.ID(h.Sum(nil)), nil
}

// kernelSum is sum through the kernel.
func kernelSum(t *testing.T, path string) (id store.ID, size int64) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	size = info.Size()
	id, err = sum(f, size, func(off int64) (int64, int64) {
		start, err := f.Seek(off, unix.SEEK_DATA)
		if err != nil {
			return size, size
		}
		end, err := f.Seek(start, unix.SEEK_HOLE)
		if err != nil {
			t.Fatal(err)
		}
		return start, end
	})
	if err != nil {
		t.Fatal(err)
	}
	return id, size
}
