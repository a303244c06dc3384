package guest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Signals that make systemd, as process 1, start poweroff.target and
// reboot.target: SIGRTMIN+4 and SIGRTMIN+5 of glibc, whose SIGRTMIN is 34.
const (
	sigPoweroff = syscall.Signal(38)
	sigReboot   = syscall.Signal(39)
)

// initTimeout is how long the guest's init may take until it knows its signals.
const initTimeout = 30 * time.Second

// signalInit sends a signal to the guest's init as soon as that listens for it;
// before, the signal would be lost.
func (h *Handler) signalInit(ctx context.Context, sig syscall.Signal) error {
	if h.guest.PID == 0 {
		return errors.New("no guest to shut down")
	}
	_ = h.delta.thaw() // commonly there is nothing to thaw
	ctx, cancel := context.WithTimeout(ctx, initTimeout)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		status, err := os.ReadFile("/proc/" + strconv.Itoa(h.guest.PID) + "/status")
		if err != nil {
			return err
		}
		if listensFor(status, sig) {
			return syscall.Kill(h.guest.PID, sig)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the guest's init does not know the signal for it: %w", ctx.Err())
		}
	}
}

// listensFor reports whether a process, by its /proc/PID/status, catches the
// signal or has blocked it to read it from a descriptor, as systemd does.
func listensFor(status []byte, sig syscall.Signal) bool {
	lines := bufio.NewScanner(bytes.NewReader(status))
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), ":")
		if key != "SigBlk" && key != "SigCgt" {
			continue
		}
		mask, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
		if err == nil && mask&(1<<(sig-1)) != 0 {
			return true
		}
	}
	return false
}
