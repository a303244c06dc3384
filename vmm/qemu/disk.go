package qemu

import (
	"errors"
	"fmt"
)

// A Disk is one that the machine's firmware boots, with whatever system is on
// it. The guest may write to it, trim it and flush it.
type Disk struct {
	Socket string // unix socket of its NBD server; empty: no such disk
	Bus    Bus
	Code   string // file with UEFI firmware; none: BIOS
	Vars   string // file with the variables of that, which the machine writes
}

// A Bus is what a disk hangs on. It says what the guest has drivers for.
type Bus string

// The kinds of bus. The zero value is the same as [Virtio].
const (
	Virtio Bus = "virtio" // fast; Linux has drivers
	SATA   Bus = "sata"   // every system has drivers for this, and for the other devices that come with it
)

func (d *Disk) check() error {
	var errs []error
	switch d.Bus {
	case "", Virtio, SATA:
	default:
		errs = append(errs, fmt.Errorf("%w: disk bus %q, want virtio or sata", ErrConfig, d.Bus))
	}
	if (d.Code == "") != (d.Vars == "") {
		errs = append(errs, fmt.Errorf("%w: UEFI firmware needs both its code and its variables", ErrConfig))
	}
	errs = append(errs, checkSocket("disk", d.Socket), checkFile("firmware", d.Code), checkFile("firmware's variables", d.Vars))
	return errors.Join(errs...)
}

func (a *argList) disk(c *Config) {
	d := &c.Disk
	if d.Socket == "" {
		return
	}
	a.add("-blockdev", fmt.Sprintf("driver=nbd,node-name=disk,discard=unmap,server.type=fd,server.str=%d", c.diskFD()))
	if d.Bus == SATA {
		a.add("-device", "ide-hd,bus=ide.0,drive=disk,bootindex=1")
	} else {
		a.add("-device", virtioDisk+",drive=disk,bootindex=1")
	}
	if d.Code != "" {
		a.add("-drive", "if=pflash,unit=0,format=raw,readonly=on,file="+escape(d.Code),
			"-drive", "if=pflash,unit=1,format=raw,file="+escape(d.Vars))
	}
}

// tablet is the pointer that goes with the bus.
func (d *Disk) tablet() []string {
	if d.Bus == SATA {
		return []string{"-device", "qemu-xhci", "-device", "usb-tablet"}
	}
	return []string{"-device", "virtio-tablet-pci"}
}

// card is the network card that goes with the bus.
func (d *Disk) card() string {
	if d.Bus == SATA {
		return "e1000"
	}
	return "virtio-net-pci"
}
