package guest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// readySocket is where the guest's init reports that it has finished starting,
// as sd_notify(3) describes: an abstract socket, seen from every mount namespace.
const readySocket = "@satchel/ready"

// ldconfig rebuilds the cache of shared libraries in the guest's root.
func ldconfig() error {
	cmd := exec.Command("/sbin/ldconfig")
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: rootDir}
	cmd.Dir = "/"
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// installShutdown puts this binary where systemd will start it last.
func installShutdown() error {
	if err := os.MkdirAll(filepath.Dir(shutdownPath), 0o755); err != nil {
		return fmt.Errorf("install shutdown program: %w", err)
	}
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("install shutdown program: %w", err)
	}
	defer self.Close()
	copied, err := os.OpenFile(shutdownPath, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return fmt.Errorf("install shutdown program: %w", err)
	}
	if _, err := io.Copy(copied, self); err != nil {
		copied.Close()
		return fmt.Errorf("install shutdown program: %w", err)
	}
	return copied.Close()
}

// startAgent leaves the agent behind in a mount namespace of its own, which
// keeps the delta disk in sight when the guest's init no longer sees it.
func startAgent() error {
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: readySocket, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("start agent: %w", err)
	}
	defer func() { _ = conn.Close() }()
	ready, err := conn.File()
	if err != nil {
		return fmt.Errorf("start agent: %w", err)
	}
	defer ready.Close()
	cmd := &exec.Cmd{
		Path:       shutdownPath, // not /init, whose memory is given back
		Args:       []string{agentName},
		Env:        []string{},
		Stdout:     os.Stdout,
		Stderr:     os.Stderr,
		ExtraFiles: []*os.File{ready},
		SysProcAttr: &syscall.SysProcAttr{
			Cloneflags: unix.CLONE_NEWNS,
			Setsid:     true,
		},
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start agent: %w", err)
	}
	return cmd.Process.Release()
}

// becomeInit gives the root over to the guest's init, the first of inits that is
// there, and becomes it. What the root is made of is hidden first, or nothing
// could unmount it at the end.
func becomeInit(inits, args []string) error {
	for _, dir := range []string{lowerDir, deltaDir} {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("hide %s: %w", dir, err)
		}
	}
	for _, dir := range []string{"/dev", "/proc", "/sys", "/run"} {
		if err := unix.Mount(dir, rootDir+dir, "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("move %s into the guest's root: %w", dir, err)
		}
	}
	_ = os.RemoveAll("/modules") // only memory
	_ = os.Remove("/init")
	if err := os.Chdir(rootDir); err != nil {
		return fmt.Errorf("enter the guest's root: %w", err)
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("make the guest's root the root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("enter the guest's root: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return fmt.Errorf("enter the guest's root: %w", err)
	}
	fmt.Printf("%s after %d ms\n", Handover, sinceBoot().Milliseconds())
	env := append(os.Environ(), "NOTIFY_SOCKET="+readySocket)
	var failed []error
	for _, init := range inits {
		err := unix.Exec(init, append([]string{init}, args...), env)
		failed = append(failed, fmt.Errorf("start the guest's init %s: %w", init, err))
	}
	return errors.Join(failed...)
}
