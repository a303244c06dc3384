package initramfs

import (
	"strings"

	"satchel/vmm/guest"
)

// SlowUnits are units of Debian guests that cost time at each start and do
// nothing for a guest whose base is replaced from below: candidates for
// [CommandLineOptions.Mask].
var SlowUnits = []string{
	"apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "man-db.timer",
	"e2scrub_all.timer", "e2scrub_reap.service", "fstrim.timer", "systemd-pstore.service",
	"dev-hugepages.mount", "sys-kernel-debug.mount", "sys-kernel-tracing.mount",
}

// CommandLineOptions choose what a guest's kernel is told.
type CommandLineOptions struct {
	Emulated bool     // no hardware acceleration: leave out what only costs time there
	Screen   bool     // kernel messages also to the guest's screen
	Verbose  bool     // kernel and systemd say on the console what they do
	Probe    bool     // print [guest.Marker] and power off
	Ldconfig bool     // rebuild the cache of shared libraries before the guest's init
	Hostname string   // "": the guest's own
	Mask     []string // systemd units not to start
	Extra    []string // appended as they are
}

// CommandLine returns the command line of a guest's kernel. Its console is the
// first serial port, and it ends, instead of waiting, when it panics.
func CommandLine(opt CommandLineOptions) string {
	var words []string
	add := func(when bool, w ...string) {
		if when {
			words = append(words, w...)
		}
	}
	add(opt.Screen, "console=tty0")
	add(true, "console=ttyS0", "panic=-1", "8250.nr_uarts=1", "audit=0", "nowatchdog")
	add(!opt.Verbose, "quiet", "loglevel=3", "systemd.show_status=0")
	add(opt.Emulated, "mitigations=off", "tsc=reliable", "no_timer_check")
	add(opt.Probe, guest.ParamProbe)
	add(opt.Ldconfig, guest.ParamLdconfig)
	add(opt.Hostname != "", "systemd.hostname="+opt.Hostname)
	for _, unit := range opt.Mask {
		add(true, "systemd.mask="+unit)
	}
	add(true, opt.Extra...)
	return strings.Join(words, " ")
}
