package overlay

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestUnreadablePagesAreNotInFile reads from a disk of which most is gone: the
// pages stay in memory, and nothing can be sent from them.
func TestUnreadablePagesAreNotInFile(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to mount")
	}
	image, at := filepath.Join(t.TempDir(), "image"), t.TempDir()
	run := func(args ...string) {
		t.Helper()
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Skipf("%v: %v\n%s", args, err, out)
		}
	}
	run("truncate", "--size=64M", image)
	run("mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", image)
	run("mount", "-o", "loop", image, at)
	t.Cleanup(func() { unix.Unmount(at, unix.MNT_DETACH) }) //nolint:errcheck // or it stays
	name := filepath.Join(at, "file")
	const size = 1 << 20
	if err := os.WriteFile(name, make([]byte, 32*size), 0o600); err != nil { // its end is behind what is left
		t.Fatal(err)
	}
	run("sync", name)
	run("mount", "-o", "remount,ro", at)
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	file, off := osFile{f}, int64(30*size)
	if file.InFile(off, size) == nil {
		t.Error("what was just written is not in memory")
	}
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		t.Fatal(err)
	}
	if file.InFile(off, size) != nil {
		t.Error("what was dropped is in memory")
	}
	if err := os.Truncate(image, 4*size); err != nil {
		t.Fatal(err)
	}
	if _, err := f.ReadAt(make([]byte, size), off); err == nil {
		t.Skip("it can be read all the same")
	}
	if file.InFile(off, size) != nil {
		t.Error("what could not be read is in memory")
	}
}
