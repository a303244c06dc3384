package qemu

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
)

// monitorFD is the file descriptor at which QEMU finds its end of the control
// connection: the first after standard error.
const monitorFD = 3

// memoryFD is the one at which it finds the guest's memory, if that is shared.
const memoryFD = monitorFD + 1

// diskFD is the one at which it finds the connection to the disk's block server.
func (c *Config) diskFD() int {
	if c.RAM != nil {
		return memoryFD + 1
	}
	return memoryFD
}

// vncBase is the TCP port of VNC display 0.
const vncBase = 5900

// sandbox is the seccomp filter that QEMU puts on itself. With a window,
// graphics drivers run inside QEMU, and they pin their threads to CPUs: the
// filter would kill QEMU for it.
func sandbox(d *Display) string {
	filter := "on,obsolete=deny,elevateprivileges=deny,spawn=deny"
	if d.Kind != Window {
		filter += ",resourcecontrol=deny"
	}
	return filter
}

// Args returns the arguments, without the program's name, with which QEMU makes
// the machine. It expects the control connection at file descriptor 3, and behind
// it those of these that there are, in this order: the file of the guest's memory,
// and a connection to the disk's block server, see [satchel/vmm/nbd.Dial].
//
// Source: qemu-system-x86_64(1), of version 7.2.
func Args(c Config) []string {
	a := argList{"-nodefaults", "-no-user-config"}
	if c.Disk.Socket == "" { // whoever boots by firmware may reboot too
		a.add("-no-reboot")
	}
	a.add("-sandbox", sandbox(&c.Display),
		"-chardev", fmt.Sprintf("socket,id=monitor,fd=%d", monitorFD),
		"-mon", "chardev=monitor,mode=control")
	if c.Name != "" {
		a.add("-name", "guest="+escape(c.Name))
	}
	a.machine(&c)
	a.boot(&c)
	a.diskThread(&c)
	a.disk(&c)
	a.disks(&c)
	a.ports(&c)
	a.display(&c)
	a.network(&c)
	if c.QMP != "" {
		a.add("-chardev", "socket,id=monitor2,path="+escape(c.QMP)+",server=on,wait=off")
		a.add("-mon", "chardev=monitor2,mode=control")
	}
	if c.RAM != nil && c.Disk.Bus != SATA { // whose systems have no driver for it
		// What the guest frees becomes a hole in the file.
		a.add("-device", "virtio-balloon-pci,free-page-reporting=on")
	}
	if c.Paused || c.Incoming {
		a.add("-S")
	}
	if c.Incoming {
		a.add("-incoming", "defer")
	}
	return a
}

// escape makes a value safe inside a list of options, where a comma ends the
// value unless it is doubled.
func escape(value string) string { return strings.ReplaceAll(value, ",", ",,") }

type argList []string

func (a *argList) add(args ...string) { *a = append(*a, args...) }

func (a *argList) machine(c *Config) {
	mib := strconv.FormatInt((c.Memory+1<<20-1)>>20, 10)
	machine := "q35"
	if c.RAM != nil {
		machine += ",memory-backend=memory"
		a.add("-object", fmt.Sprintf("memory-backend-file,id=memory,size=%sM,mem-path=/proc/self/fd/%d,share=on", mib, memoryFD))
	}
	a.add("-machine", machine)
	a.add(c.Accel.args()...)
	a.add("-m", mib+"M", "-smp", c.processors())
	// Without a source of randomness a guest's first keys wait for jitter.
	a.add("-object", "rng-builtin,id=rng", "-device", "virtio-rng-pci,rng=rng")
}

// processors says how many there are, or may be. Up to version 8.0, software
// emulation leaves out the guest's memory barriers where there can only be one.
// But whoever serves a virtio disk reads the guest's queues at the same time: the
// guest then misses that a disk wants to be woken, and it stands still for good.
//
// Source: QEMU's commit c914d46d0a64, of version 8.1, which keeps the barriers.
func (c *Config) processors() string {
	n := max(c.CPUs, 1)
	if n == 1 && c.Accel.Name != KVM {
		return "1,maxcpus=2"
	}
	return strconv.Itoa(n)
}

func (a *argList) boot(c *Config) {
	if c.Kernel == "" {
		return
	}
	a.add("-kernel", c.Kernel)
	if c.Initrd != "" {
		a.add("-initrd", c.Initrd)
	}
	if len(c.KernelArgs) > 0 {
		a.add("-append", strings.Join(c.KernelArgs, " "))
	}
}

// virtioDisk is a disk that a thread of its own serves. QEMU's main loop would hold
// a lock for that which the guest's processors need for each request.
const virtioDisk = "virtio-blk-pci,iothread=disks"

// diskThread adds the thread, if there are virtio disks. It sleeps when it has
// nothing to do: looking for work takes the processor that the block server needs.
func (a *argList) diskThread(c *Config) {
	if c.Root != "" || c.Delta != "" || c.Disk.Socket != "" && c.Disk.Bus != SATA {
		a.add("-object", "iothread,id=disks,poll-max-ns=0")
	}
}

func (a *argList) disks(c *Config) {
	if c.Root != "" {
		a.add("-blockdev", "driver=nbd,node-name=root,read-only=on,server.type=unix,server.path="+escape(c.Root),
			"-device", virtioDisk+",drive=root,serial="+RootSerial)
	}
	if c.Delta != "" {
		a.add("-blockdev", "driver=file,node-name=delta-file,discard=unmap,filename="+escape(c.Delta),
			"-blockdev", "driver=raw,node-name=delta,discard=unmap,file=delta-file",
			"-device", virtioDisk+",drive=delta,serial="+DeltaSerial)
	}
}

func (a *argList) ports(c *Config) {
	if c.Agent != "" {
		a.add("-device", "virtio-serial-pci,id=ports",
			"-chardev", "socket,id=agent,path="+escape(string(c.Agent))+",server=on,wait=off",
			"-device", "virtserialport,bus=ports.0,chardev=agent,name="+AgentPort)
	}
	chardev := ""
	switch {
	case c.Console.Socket != "":
		chardev = "socket,id=console,path=" + escape(string(c.Console.Socket)) + ",server=on,wait=off"
	case c.Console.Log != "":
		chardev = "null,id=console"
	default:
		return
	}
	if c.Console.Log != "" {
		chardev += ",logfile=" + escape(c.Console.Log) + ",logappend=on"
	}
	a.add("-chardev", chardev, "-serial", "chardev:console")
}

func (a *argList) display(c *Config) {
	d := &c.Display
	device := d.Device
	switch d.Kind {
	case Window:
		a.add("-display", "gtk")
	case VNC:
		a.add("-display", "none", "-vnc", vncAddress(d.VNC))
	default:
		a.add("-display", "none")
		if device == "" {
			return
		}
	}
	if device == "" {
		device = "virtio-gpu-pci"
	}
	// A tablet tells where the pointer is, not how far it moved, so that the
	// host's pointer and the guest's agree.
	a.add("-device", device)
	a.add(c.Disk.tablet()...)
}

// vncAddress turns an address as [Display] has it into QEMU's form, which
// counts displays, not ports.
func vncAddress(address string) string {
	if filepath.IsAbs(address) {
		return "unix:" + escape(address)
	}
	addr, err := netip.ParseAddrPort(address)
	if err != nil {
		return address // Validate has refused it
	}
	host := addr.Addr().String()
	if addr.Addr().Is6() {
		host = "[" + host + "]"
	}
	return fmt.Sprintf("%s:%d", host, int(addr.Port())-vncBase)
}

func (a *argList) network(c *Config) {
	n := &c.Network
	if n.Mode != User {
		return
	}
	netdev := "user,id=net"
	if n.Restrict {
		netdev += ",restrict=on"
	}
	// No boot ROM: the guest is booted directly, and the ROM is a further file.
	a.add("-netdev", netdev, "-device", c.Disk.card()+",netdev=net,romfile=")
}
