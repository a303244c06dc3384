package guest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"satchel/vmm/agent"

	"golang.org/x/sys/unix"
)

// initPID is the process whose namespaces and root are the guest's.
const initPID = 1

// runAgent serves the host until the shutdown program ends it.
func runAgent() error {
	ctx := context.Background()
	name, ok := findPort(os.DirFS("/sys"), PortName)
	if !ok {
		return fmt.Errorf("agent: no virtio-serial port %q: the host cannot reach this guest", PortName)
	}
	port, err := openPort("/dev/" + name)
	if err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	ready, err := net.FilePacketConn(os.NewFile(3, "ready"))
	if err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	if err := waitHandover(); err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	h := NewHandler(Guest{PID: initPID, Delta: deltaDir, Ready: ready})
	for {
		// It ends only for what a later host may do better: a frame of a
		// version that this agent does not read.
		err := agent.Serve(ctx, port, h)
		if errors.Is(err, errUnplugged) {
			return err
		}
	}
}

// waitHandover waits until process 1 is in the guest's root.
func waitHandover() error {
	var ours, theirs unix.Stat_t
	if err := unix.Stat("/", &ours); err != nil {
		return err
	}
	for {
		err := unix.Stat("/proc/1/root/.", &theirs)
		if err == nil && theirs.Dev != ours.Dev {
			return nil
		}
		// In the midst of the change, the root that is left may be gone already.
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
		time.Sleep(2 * time.Millisecond)
	}
}

var errUnplugged = errors.New("virtio-serial port is gone")

// A port is a virtio-serial port. While no host is connected, reading it gives
// the end of the file at once and writing it blocks.
type port struct{ f *os.File }

// openPort opens a port for blocking input and output: the runtime's poller
// would be told of an end of file at each look.
func openPort(name string) (*port, error) {
	fd, err := unix.Open(name, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	return &port{os.NewFile(uintptr(fd), name)}, nil
}

// Read waits for a host and its bytes.
func (p *port) Read(b []byte) (int, error) {
	for {
		n, err := syscall.Read(int(p.f.Fd()), b)
		switch {
		case n > 0:
			return n, nil
		case err == nil:
			time.Sleep(20 * time.Millisecond) // no host: there is no event to wait for
		case errors.Is(err, syscall.EINTR), errors.Is(err, syscall.EAGAIN):
		default:
			return 0, fmt.Errorf("%w: %w", errUnplugged, err)
		}
	}
}

// Write waits for a host and until it has room for all of b.
func (p *port) Write(b []byte) (int, error) { return p.f.Write(b) }
