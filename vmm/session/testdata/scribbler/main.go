// Scribbler is the init of a guest that scribbles on its disk.
package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"satchel/vmm/session/scribble"
)

func main() {
	err := run()
	fmt.Println("scribbler:", err)
	time.Sleep(time.Hour) // the end of an init is the kernel's too
}

func run() error {
	if err := unix.Mount("dev", "/dev", "devtmpfs", 0, ""); err != nil {
		return err
	}
	order, err := os.ReadFile("/modules/order")
	if err != nil {
		return err
	}
	for _, name := range strings.Fields(string(order)) {
		f, err := os.Open(filepath.Join("/modules", name))
		if err != nil {
			return err
		}
		_ = unix.FinitModule(int(f.Fd()), "", 0) // what is missed is missed later
		f.Close()
	}
	var disk *os.File
	for range 1000 { // until its driver has found it
		if disk, err = os.OpenFile("/dev/vda", os.O_RDWR, 0); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err != nil {
		return err
	}
	return scribble.Run(disk, os.Stdout, rand.Uint64N(1<<24))
}
