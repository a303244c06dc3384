package qemu

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// Names by which the guest finds what it is given.
const (
	RootSerial  = "root"          // serial number of the root disk
	DeltaSerial = "delta"         // serial number of the delta disk
	AgentPort   = "satchel.agent" // name of the agent's virtio-serial port
)

// Limits of a machine.
const (
	MinMemory = 64 << 20 // bytes
	MaxMemory = 4 << 40  // bytes
	MaxCPUs   = 255
)

// ErrConfig reports a [Config] that describes no machine.
var ErrConfig = errors.New("bad machine configuration")

// A Config describes a machine. The zero value of each optional field leaves
// that part out or takes the default that its comment names. All paths must be
// absolute, because QEMU may be started in another directory.
type Config struct {
	Binary string // QEMU to run; "qemu-system-x86_64"
	Name   string // of the machine, for people
	Memory int64  // bytes, rounded up to whole MiB
	CPUs   int    // 1
	Accel  Accel  // TCG

	Disk       Disk     // booted by firmware; with it there is no kernel
	Kernel     string   // file
	Initrd     string   // file
	KernelArgs []string // joined by spaces

	Root    string  // unix socket of the NBD server of the root disk; read-only
	Delta   string  // file with the raw delta disk; freed blocks become holes
	Agent   Socket  // the agent's virtio-serial port
	Console Console // first serial port
	Display Display
	Network Network

	QMP    string // a further monitor, listening on this unix socket
	Log    string // file to which QEMU's messages are appended
	Paused bool   // do not run the guest before [Process.Resume]

	RAM      *os.File // holds the guest's memory, shared, and as large as that; nil: private memory
	Incoming bool     // wait for [Process.Load], and then for [Process.Resume]
}

// A Socket is the path of a unix socket at which QEMU listens for one peer at
// a time. Empty: none.
type Socket string

// A Console is the machine's first serial port.
type Console struct {
	Socket Socket // where to attach
	Log    string // file that gets all output, whether or not anyone is attached
}

// A Display is what the machine shows, and where.
type Display struct {
	Kind   DisplayKind
	VNC    string // with [VNC]: path of a unix socket, or loopback address "127.0.0.1:PORT", PORT 5900 to 65535
	Device string // graphics device; "virtio-gpu-pci" unless Kind is None. May be set with None, for screenshots
}

// A DisplayKind says where the screen is shown.
type DisplayKind string

// The kinds of display. The zero value is the same as [None].
const (
	None   DisplayKind = "none"
	Window DisplayKind = "window" // on the desktop of whoever started QEMU
	VNC    DisplayKind = "vnc"
)

// A Network is the machine's network card.
type Network struct {
	Mode     NetworkMode
	Restrict bool // with [User]: the guest reaches only what QEMU itself offers
}

// A NetworkMode says what the network card is connected to.
type NetworkMode string

// The modes of network. The zero value is the same as [NoNetwork].
const (
	NoNetwork NetworkMode = "none"
	User      NetworkMode = "user" // QEMU's own network stack; needs no rights
)

// graphics lists the graphics devices that may be chosen.
var graphics = map[string]bool{"": true, "virtio-gpu-pci": true, "VGA": true, "virtio-vga": true}

// Validate reports everything that is wrong with the configuration, as an
// error that wraps [ErrConfig], without looking at the file system.
func (c *Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("%w: "+format, append([]any{ErrConfig}, args...)...))
	}
	if c.Memory < MinMemory || c.Memory > MaxMemory {
		bad("memory of %d bytes, want %d MiB to %d GiB", c.Memory, MinMemory>>20, MaxMemory>>30)
	}
	if c.CPUs < 0 || c.CPUs > MaxCPUs {
		bad("%d CPUs, want 1 to %d", c.CPUs, MaxCPUs)
	}
	if strings.ContainsFunc(c.Name, func(r rune) bool { return r < ' ' }) {
		bad("name %q holds a control character", c.Name)
	}
	if c.Kernel == "" && (c.Initrd != "" || len(c.KernelArgs) > 0) {
		bad("an initrd or kernel arguments without a kernel")
	}
	if c.Kernel != "" && c.Disk.Socket != "" {
		bad("both a kernel and a disk to boot")
	}
	errs = append(errs, c.checkPaths(), c.Accel.check(), c.Disk.check(), c.Display.check(), c.Network.check())
	return errors.Join(errs...)
}

func (c *Config) checkPaths() error {
	return errors.Join(
		checkFile("kernel", c.Kernel), checkFile("initrd", c.Initrd), checkFile("delta disk", c.Delta),
		checkFile("console log", c.Console.Log), checkFile("log", c.Log),
		checkSocket("root disk", c.Root), checkSocket("agent", string(c.Agent)),
		checkSocket("console", string(c.Console.Socket)), checkSocket("monitor", c.QMP))
}

func checkFile(what, path string) error {
	switch {
	case path == "":
		return nil
	case !filepath.IsAbs(path):
		return fmt.Errorf("%w: %s %q is not an absolute path", ErrConfig, what, path)
	case strings.IndexByte(path, 0) >= 0:
		return fmt.Errorf("%w: %s %q holds a NUL byte", ErrConfig, what, path)
	}
	return nil
}

// maxSocket is the longest path of a unix socket: the address has room for 108
// bytes, and QEMU wants one for the NUL. See unix(7).
const maxSocket = 107

func checkSocket(what, path string) error {
	if len(path) > maxSocket {
		return fmt.Errorf("%w: %s socket %q has a path of %d bytes, more than the %d that unix sockets allow",
			ErrConfig, what, path, len(path), maxSocket)
	}
	return checkFile(what+" socket", path)
}

func (d *Display) check() error {
	if !graphics[d.Device] {
		return fmt.Errorf("%w: graphics device %q, want virtio-gpu-pci, VGA or virtio-vga", ErrConfig, d.Device)
	}
	switch d.Kind {
	case "", None, Window:
		if d.VNC != "" {
			return fmt.Errorf("%w: VNC address %q without a VNC display", ErrConfig, d.VNC)
		}
		return nil
	case VNC:
		if filepath.IsAbs(d.VNC) {
			return checkSocket("VNC", d.VNC)
		}
		addr, err := netip.ParseAddrPort(d.VNC)
		if err != nil || !addr.Addr().IsLoopback() || addr.Port() < vncBase {
			return fmt.Errorf("%w: VNC address %q, want a socket's path or 127.0.0.1:PORT with PORT from %d", ErrConfig, d.VNC, vncBase)
		}
		return nil
	}
	return fmt.Errorf("%w: display %q, want window, vnc or none", ErrConfig, d.Kind)
}

func (n *Network) check() error {
	switch n.Mode {
	case "", NoNetwork, User:
		return nil
	}
	return fmt.Errorf("%w: network %q, want user or none", ErrConfig, n.Mode)
}
