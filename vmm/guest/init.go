package guest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Places in the initial RAM file system.
const (
	lowerDir = "/lower"
	deltaDir = "/delta"
	rootDir  = "/root"
)

// UpperDir and WorkDir are the overlay's directories on the delta disk.
const (
	UpperDir = "upper"
	WorkDir  = "work"
)

// overlayOptions keep the upper directory free of what only this mount could
// read: no redirects, no metadata-only copies, no index of hard links.
const overlayOptions = "lowerdir=" + lowerDir +
	",upperdir=" + deltaDir + "/" + UpperDir + ",workdir=" + deltaDir + "/" + WorkDir +
	",redirect_dir=off,metacopy=off,index=off,xino=auto"

// runInit is process 1 from the kernel's hand-over to the guest's init.
func runInit(args []string) {
	fmt.Printf("%s in %d ms\n", Marker, sinceBoot().Milliseconds())
	if err := start(args); err != nil {
		fmt.Println(lastWords(err))
	}
	unix.Sync()
	powerOff()
}

// lastWords is the line that says why the guest does not start. All that may
// have led to it stands in one line, so that a host finds it whole.
func lastWords(err error) string {
	return CannotStart + " " + strings.ReplaceAll(err.Error(), "\n", "; ")
}

// powerOff ends the machine. It does not return: process 1 must not end.
func powerOff() {
	for {
		_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
		time.Sleep(time.Second)
	}
}

// sinceBoot is the time since the kernel started.
func sinceBoot() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) // cannot fail for this clock
	return time.Duration(t.Nano())
}

// start builds the guest's root and becomes its init. It returns only to end
// the machine.
func start(args []string) error {
	if err := mountKernel(); err != nil {
		return err
	}
	todo, err := readOrders()
	if err != nil || todo.probe {
		return err
	}
	failed := loadModules("/modules")
	if err := mountRoot(); err != nil {
		return errors.Join(append([]error{err}, failed...)...)
	}
	if todo.ldconfig {
		if err := ldconfig(); err != nil {
			fmt.Printf("satchel: shared library cache: %v\n", err)
		}
	}
	if err := installShutdown(); err != nil {
		return err
	}
	if err := startAgent(); err != nil {
		return err
	}
	return becomeInit(todo.inits, args)
}

// A mount is one call of mount(2).
type mount struct {
	source, target, fstype string
	flags                  uintptr
	data                   string
}

func (m mount) do() error {
	if err := unix.Mount(m.source, m.target, m.fstype, m.flags, m.data); err != nil {
		return fmt.Errorf("mount %s on %s as %s: %w", m.source, m.target, m.fstype, err)
	}
	return nil
}

// mountKernel mounts the kernel's own file systems, as systemd would.
func mountKernel() error {
	const quiet = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	for _, m := range []mount{
		{"proc", "/proc", "proc", quiet, ""},
		{"sysfs", "/sys", "sysfs", quiet, ""},
		{"devtmpfs", "/dev", "devtmpfs", unix.MS_NOSUID, "mode=755"},
		{"tmpfs", "/run", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_STRICTATIME, "mode=755"},
	} {
		if err := m.do(); err != nil {
			return err
		}
	}
	return nil
}

// mountRoot mounts lower and delta and the overlay of the two.
func mountRoot() error {
	root, err := waitDisk(SerialRoot)
	if err != nil {
		return err
	}
	delta, err := waitDisk(SerialDelta)
	if err != nil {
		return err
	}
	if err := (mount{root, lowerDir, "erofs", unix.MS_RDONLY, ""}).do(); err != nil {
		return err
	}
	if err := (mount{delta, deltaDir, "ext4", unix.MS_NOATIME, "discard"}).do(); err != nil {
		return err
	}
	if err := makeUpper(); err != nil {
		return fmt.Errorf("prepare delta disk: %w", err)
	}
	return mount{"overlay", rootDir, "overlay", 0, overlayOptions}.do()
}

// makeUpper makes the overlay's directories. The root of the overlay looks like
// the upper directory, so that one gets the owner and mode of the lower's root.
func makeUpper() error {
	var root unix.Stat_t
	if err := unix.Stat(lowerDir, &root); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(deltaDir, WorkDir), 0o700); err != nil {
		return err
	}
	upper := filepath.Join(deltaDir, UpperDir)
	if err := os.Mkdir(upper, 0o700); errors.Is(err, os.ErrExist) {
		return nil
	} else if err != nil {
		return err
	}
	if err := unix.Chown(upper, int(root.Uid), int(root.Gid)); err != nil {
		return err
	}
	return unix.Chmod(upper, root.Mode&0o7777)
}
