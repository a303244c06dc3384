package guest

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"satchel/vmm/agent"

	"golang.org/x/sys/unix"
)

// A Guest says what a [Handler] serves.
type Guest struct {
	PID   int            // the guest's init, in whose root commands run; 0: run them here
	Delta string         // the delta's mount point, to freeze
	Ready net.PacketConn // receives the init's sd_notify messages; nil: the guest is ready
}

// A Handler does what hosts ask the agent for. It implements [agent.Handler].
type Handler struct {
	guest Guest
	delta freezer
	ready *readiness
}

// NewHandler returns a handler for the guest, whose Ready it owns from now on.
func NewHandler(g Guest) *Handler {
	h := &Handler{guest: g, delta: freezer{dir: g.Delta}}
	h.ready = watchReady(g.Ready)
	return h
}

// root is the way to the guest's root.
func (h *Handler) root() string {
	if h.guest.PID == 0 {
		return "/"
	}
	return "/proc/" + strconv.Itoa(h.guest.PID) + "/root/"
}

// Info describes the guest.
func (h *Handler) Info() agent.Info {
	info := agent.Info{Uptime: sinceBoot()}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		info.Kernel = unix.ByteSliceToString(u.Release[:])
		info.Hostname = unix.ByteSliceToString(u.Nodename[:])
	}
	// Before etc, where the file may be a link that is meant for the root.
	for _, name := range []string{"usr/lib/os-release", "etc/os-release"} {
		if data, err := os.ReadFile(h.root() + name); err == nil {
			info.OS = prettyName(data)
			break
		}
	}
	return info
}

// prettyName reads PRETTY_NAME from an os-release file.
func prettyName(data []byte) string {
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), "PRETTY_NAME="); ok {
			return strings.Trim(value, `"'`)
		}
	}
	return ""
}

// Do carries out a request that has no data.
func (h *Handler) Do(ctx context.Context, req agent.Request) error {
	switch req.Op {
	case agent.OpReady:
		if err := h.ready.wait(ctx); err != nil {
			return err
		}
		return h.systemState()
	case agent.OpFreeze:
		if err := h.sync(); err != nil {
			return err
		}
		return h.delta.freeze(req.Max)
	case agent.OpThaw:
		return h.delta.thaw()
	case agent.OpSync:
		return h.sync()
	case agent.OpClock:
		return setClock(req.Time)
	case agent.OpPoweroff:
		return h.signalInit(ctx, sigPoweroff)
	case agent.OpReboot:
		return h.signalInit(ctx, sigReboot)
	default:
		return fmt.Errorf("unknown operation %q", req.Op)
	}
}

// sync writes everything to the disks, so that a freeze after it is short.
func (h *Handler) sync() error {
	unix.Sync()
	return nil
}

// setClock sets the clock, unless the time is not one that a host can have.
func setClock(ns int64) error {
	if ns <= 0 {
		return fmt.Errorf("set the clock: %d ns is no time", ns)
	}
	t := unix.NsecToTimespec(ns)
	if err := unix.ClockSettime(unix.CLOCK_REALTIME, &t); err != nil {
		return fmt.Errorf("set the clock: %w", err)
	}
	return nil
}
