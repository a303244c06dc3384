package session

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// runtimeDir is the directory of a workspace's sockets while it runs. It is
// not below the home, since a unix socket's path is limited to 107 bytes and a
// home's is not.
func runtimeDir(home, workspace string) string {
	base := os.Getenv("XDG_RUNTIME_DIR")
	if base == "" {
		base = filepath.Join(os.TempDir(), fmt.Sprintf("satchel-%d", os.Getuid()))
	} else {
		base = filepath.Join(base, "satchel")
	}
	sum := sha256.Sum256([]byte(home + "\x00" + workspace))
	return filepath.Join(base, hex.EncodeToString(sum[:6]))
}

// maxSocket is the longest path of a unix socket, in bytes: see unix(7).
const maxSocket = 107

// makeRuntimeDir makes that directory, empty and closed to others.
func makeRuntimeDir(home, workspace string) (string, error) {
	dir := runtimeDir(home, workspace)
	if n := len(filepath.Join(dir, consoleSocket)); n > maxSocket {
		return "", fmt.Errorf("runtime directory %s: too long by %d bytes for the path of a socket: set XDG_RUNTIME_DIR to a shorter one", dir, n-maxSocket)
	}
	for _, d := range []string{filepath.Dir(dir), dir} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return "", fmt.Errorf("make the runtime directory: %w", err)
		}
		if err := checkPrivate(d); err != nil {
			return "", err
		}
	}
	old, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	for _, e := range old { // left by a session that was killed
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// checkPrivate refuses a directory that another user may have laid out for us.
func checkPrivate(dir string) error {
	st, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !st.IsDir() || !ok || int(sys.Uid) != os.Getuid() || st.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("runtime directory %s: must be a directory of this user's with mode 0700", dir)
	}
	return nil
}

// Names of what lies in a runtime directory.
const (
	controlSocket = "control.sock" // verbs: HTTP with JSON
	agentSocket   = "agent.sock"   // the guest agent's protocol, shared
	portSocket    = "port.sock"    // the guest agent's virtio-serial port
	consoleSocket = "console.sock" // the serial console
	nbdSocket     = "nbd.sock"     // the composed image
	vncSocket     = "vnc.sock"
	stateSocket   = "state.sock" // a machine's state on its way to or from the disk
	kernelFile    = "kernel"
	initrdFile    = "initrd"
)
