// Command satchel-guest is the one program that Satchel runs inside guests: the
// init of their initial RAM file system, the agent that serves the host, and the
// last program at shutdown. It is built static, packed by vmm/initramfs, and of
// no use outside a guest.
package main

import (
	"os"

	"satchel/vmm/guest"
)

func main() { os.Exit(guest.Main(os.Args)) }
