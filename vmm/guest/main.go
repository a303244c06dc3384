package guest

import (
	"fmt"
	"os"
	"path/filepath"
)

// agentName is the agent's argv[0]. systemd leaves processes alone at shutdown
// whose argv[0] begins with "@", as it does for what serves the root file system.
const agentName = "@satchel-agent"

// shutdownPath is where systemd looks for what runs last.
const shutdownPath = "/run/initramfs/shutdown"

// Main is the whole guest binary: init, agent or shutdown, depending on args
// and on whether it is process 1. It returns an exit code if it is none of them
// or the agent fails.
func Main(args []string) int {
	name := ""
	if len(args) > 0 {
		name = filepath.Base(args[0])
	}
	var err error
	switch {
	case name == agentName:
		err = runAgent()
	case os.Getpid() != 1:
		err = fmt.Errorf("%s runs inside guests only", name)
	case name == filepath.Base(shutdownPath):
		runShutdown(args[1:])
	default:
		runInit(args[min(1, len(args)):])
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "satchel: %v\n", err)
		return 1
	}
	return 0
}
