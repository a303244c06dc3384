package guest

import (
	"fmt"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// inside runs f in the mount namespace and root of process pid, with pid 0
// here. The thread that did it ends, so that nothing of this process stays there.
func inside(pid int, f func() error) error {
	if pid == 0 {
		return f()
	}
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with this goroutine
		if unix.Gettid() == unix.Getpid() {
			// All but the main thread, which would stay there. While it is held here,
			// the next goroutine is on another.
			defer runtime.UnlockOSThread()
			result <- inside(pid, f)
			return
		}
		err := enter(pid)
		if err == nil {
			err = f()
		}
		result <- err
	}()
	return <-result
}

// enter moves the current thread into the mount namespace and root of pid.
func enter(pid int) error {
	proc := "/proc/" + strconv.Itoa(pid)
	ns, err := os.Open(proc + "/ns/mnt")
	if err != nil {
		return fmt.Errorf("enter guest: %w", err)
	}
	defer ns.Close()
	root, err := unix.Open(proc+"/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("enter guest: open root: %w", err)
	}
	defer func() { _ = unix.Close(root) }()
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("enter guest: unshare: %w", err)
	}
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("enter guest: setns: %w", err)
	}
	if err := unix.Fchdir(root); err != nil {
		return fmt.Errorf("enter guest: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("enter guest: chroot: %w", err)
	}
	return nil
}
