package guest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// oldRoot is where systemd leaves the guest's root when it starts what is at
// [shutdownPath] in its stead.
const oldRoot = "/oldroot"

// deltaTimeout is how long the delta disk may take to be let go.
const deltaTimeout = 10 * time.Second

// runShutdown is process 1 after systemd: it ends the agent, unmounts the
// guest's root, so that the delta disk is closed in good order, and ends the
// machine as the first argument says.
func runShutdown(args []string) {
	_ = unix.Kill(-1, unix.SIGKILL) // the agent; ESRCH if there is no process left
	reap()
	for range 10 {
		if unmountBelow(oldRoot) == 0 {
			break
		}
	}
	unix.Sync()
	if err := waitReleased(SerialDelta); err != nil {
		fmt.Printf("satchel: delta not closed: %v\n", err)
	} else {
		fmt.Println(DeltaClosed)
	}
	if restarts(args) {
		_ = unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
	}
	powerOff()
}

// restarts reports whether systemd wants the machine to start again. All else
// ends it: a machine that is only halted would wait for a hand on its switch.
func restarts(args []string) bool {
	return len(args) > 0 && (args[0] == "reboot" || args[0] == "kexec")
}

// reap waits until no process is left.
func reap() {
	for {
		_, err := unix.Wait4(-1, nil, 0, nil)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// unmountBelow unmounts what it can of dir and below, the last mounted first,
// and returns how many mounts are left.
func unmountBelow(dir string) (left int) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return 0
	}
	defer f.Close()
	targets := mountsBelow(f, dir)
	slices.Reverse(targets)
	for _, target := range targets {
		if err := unix.Unmount(target, 0); err != nil {
			left++
		}
	}
	return left
}

// mountsBelow lists the mount points at dir and below in the order of a
// mountinfo file, the order in which they were mounted.
func mountsBelow(mountinfo io.Reader, dir string) []string {
	var targets []string
	lines := bufio.NewScanner(mountinfo)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 5 {
			continue
		}
		target := unescape(fields[4])
		if target == dir || strings.HasPrefix(target, dir+"/") {
			targets = append(targets, target)
		}
	}
	return targets
}

// unescape reads the octal escapes of mountinfo: space, tab, newline, backslash.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace

// waitReleased waits until no mount holds the disk any more: the kernel ends
// the last ones only after the processes that held them. An exclusive open of
// a device that is mounted fails.
func waitReleased(serial string) error {
	disk, err := waitDisk(serial)
	if err != nil {
		return err
	}
	for end := time.Now().Add(deltaTimeout); ; time.Sleep(10 * time.Millisecond) {
		fd, err := unix.Open(disk, unix.O_RDONLY|unix.O_EXCL|unix.O_CLOEXEC, 0)
		if err == nil {
			return errors.Join(unix.Fsync(fd), unix.Close(fd))
		}
		if time.Now().After(end) {
			return fmt.Errorf("open %s: %w", disk, err)
		}
	}
}
