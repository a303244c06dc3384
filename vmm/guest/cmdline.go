package guest

import (
	"os"
	"strings"
)

// Lines that the host may look for on the guest's console.
const (
	Marker      = "satchel: init reached"  // the first line; " in N ms" of the kernel's time follows
	CannotStart = "satchel: cannot start:" // the last line of a start that failed; the reason follows
	DeltaClosed = "satchel: delta closed"  // the delta's file system is unmounted, all is written
)

// Serial numbers by which disks are found.
const (
	SerialRoot  = "root"  // the composed image
	SerialDelta = "delta" // the delta disk
)

// PortName is the name of the virtio-serial port that the agent serves.
const PortName = "satchel.agent"

// SlowUnits are units of Debian guests that cost time at each start and do
// nothing for a guest whose base is replaced from below: candidates for
// [KernelArgs.Mask].
var SlowUnits = []string{
	"apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "man-db.timer",
	"e2scrub_all.timer", "e2scrub_reap.service", "fstrim.timer", "systemd-pstore.service",
	"dev-hugepages.mount", "sys-kernel-debug.mount", "sys-kernel-tracing.mount",
}

// KernelArgs choose what a guest's kernel is told.
type KernelArgs struct {
	Emulated bool     // no hardware acceleration: leave out what only costs time there
	Screen   bool     // kernel messages also to the guest's screen
	Verbose  bool     // kernel and systemd say on the console what they do
	Probe    bool     // print [Marker] and power off
	Ldconfig bool     // rebuild the cache of shared libraries before the guest's init
	Hostname string   // "": the guest's own
	Mask     []string // systemd units not to start
	Extra    []string // appended as they are
}

// CommandLine returns the kernel's command line.
func CommandLine(a KernelArgs) string {
	var words []string
	add := func(when bool, w ...string) {
		if when {
			words = append(words, w...)
		}
	}
	add(a.Screen, "console=tty0")
	add(true, "console=ttyS0", "panic=-1", "8250.nr_uarts=1", "audit=0", "nowatchdog")
	add(!a.Verbose, "quiet", "loglevel=3", "systemd.show_status=0")
	add(a.Emulated, "mitigations=off", "tsc=reliable", "no_timer_check")
	add(a.Probe, "satchel.probe=1")
	add(a.Ldconfig, "satchel.ldconfig=1")
	add(a.Hostname != "", "systemd.hostname="+a.Hostname)
	for _, unit := range a.Mask {
		add(true, "systemd.mask="+unit)
	}
	add(true, a.Extra...)
	return strings.Join(words, " ")
}

// orders are what the command line tells our init.
type orders struct {
	probe    bool
	ldconfig bool
	init     string // the guest's init, in its root
}

// parseOrders reads a kernel command line; of a word that comes twice the last
// counts, as for the kernel.
func parseOrders(line string) orders {
	o := orders{init: "/sbin/init"}
	for _, word := range strings.Fields(line) {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "satchel.probe":
			o.probe = value == "1"
		case "satchel.ldconfig":
			o.ldconfig = value == "1"
		case "init":
			o.init = value
		}
	}
	return o
}

func readOrders() (orders, error) {
	line, err := os.ReadFile("/proc/cmdline")
	return parseOrders(string(line)), err
}
