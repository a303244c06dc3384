package device

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// TestDiskOfStick measures a home at the top of a file system, where there is a
// lost+found that only root may look into.
func TestDiskOfStick(t *testing.T) {
	dir := memoryDir(t)
	must(t, os.Chmod(dir, 0o755)) //nolint:gosec // for whom it is measured
	must(t, os.WriteFile(filepath.Join(dir, "pack"), make([]byte, 1<<20), 0o600))
	must(t, os.Mkdir(filepath.Join(dir, "lost+found"), 0))
	runtime.LockOSThread() // it is the thread that is not root's for a while
	const nobody = 65534
	if os.Geteuid() == 0 {
		must(t, unix.Setfsuid(nobody))
	}
	d, err := DiskOf(dir)
	if os.Geteuid() == 0 {
		must(t, unix.Setfsuid(0))
	}
	if runtime.UnlockOSThread(); err != nil || d.Used < 1<<20 {
		t.Errorf("%d bytes, error %v: want a megabyte", d.Used, err)
	}
}
