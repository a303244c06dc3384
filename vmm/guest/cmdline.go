package guest

import (
	"os"
	"strings"
)

// Lines that the host may look for on the guest's console.
const (
	Marker      = "satchel: init reached"  // the first line; " in N ms" of the kernel's time follows
	Handover    = "satchel: handing over"  // the guest's own init begins; " after N ms" follows
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

// Words of the kernel's command line that tell our init what to do.
const (
	ParamProbe    = "satchel.probe=1"    // print [Marker] and power off
	ParamLdconfig = "satchel.ldconfig=1" // rebuild the cache of shared libraries first
)

// orders are what the command line tells our init.
type orders struct {
	probe    bool
	ldconfig bool
	inits    []string // where the guest's init may be, in its root
}

// parseOrders reads a kernel command line; of several inits the last counts, as
// for the kernel.
func parseOrders(line string) orders {
	o := orders{inits: []string{"/sbin/init", "/usr/lib/systemd/systemd"}}
	for _, word := range strings.Fields(line) {
		switch word {
		case ParamProbe:
			o.probe = true
		case ParamLdconfig:
			o.ldconfig = true
		}
		if init, ok := strings.CutPrefix(word, "init="); ok {
			o.inits = []string{init}
		}
	}
	return o
}

func readOrders() (orders, error) {
	line, err := os.ReadFile("/proc/cmdline")
	return parseOrders(string(line)), err
}
