package guest

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"
)

// diskTimeout is how long a disk may take to appear after its driver.
const diskTimeout = 10 * time.Second

// waitDisk waits for the disk with that serial and returns its device's path.
func waitDisk(serial string) (string, error) {
	for end := time.Now().Add(diskTimeout); ; time.Sleep(5 * time.Millisecond) {
		if name, ok := findDisk(os.DirFS("/sys"), serial); ok {
			return "/dev/" + name, nil
		}
		if time.Now().After(end) {
			return "", fmt.Errorf("no disk with serial %q after %v", serial, diskTimeout)
		}
	}
}

// findDisk returns the kernel's name of the disk with that serial.
func findDisk(sys fs.FS, serial string) (name string, ok bool) {
	return findNamed(sys, "block", "serial", serial)
}

// findPort returns the kernel's name of the virtio-serial port of that name.
func findPort(sys fs.FS, name string) (device string, ok bool) {
	return findNamed(sys, "class/virtio-ports", "name", name)
}

// findNamed looks in the devices below dir for one whose attribute is value.
func findNamed(sys fs.FS, dir, attribute, value string) (string, bool) {
	devices, err := fs.ReadDir(sys, dir)
	if err != nil {
		return "", false
	}
	for _, d := range devices {
		got, err := fs.ReadFile(sys, path.Join(dir, d.Name(), attribute))
		if err == nil && strings.TrimSpace(string(got)) == value {
			return d.Name(), true
		}
	}
	return "", false
}
