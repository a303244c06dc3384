package qemu_test

import (
	"encoding/binary"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"satchel/vmm/qemu"
)

// needQEMU skips the test where QEMU is not installed.
func needQEMU(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		t.Skip("needs qemu-system-x86_64:", err)
	}
}

// A program is 32-bit machine code.
type program []byte

// outb writes a byte to a port: mov dx, port; mov al, value; out dx, al.
func (p program) outb(port uint16, value byte) program {
	return append(p, 0x66, 0xba, byte(port), byte(port>>8), 0xb0, value, 0xee)
}

// outw writes two bytes to a port: mov dx, port; mov ax, value; out dx, ax.
func (p program) outw(port, value uint16) program {
	return append(p, 0x66, 0xba, byte(port), byte(port>>8), 0x66, 0xb8, byte(value), byte(value>>8), 0x66, 0xef)
}

// awaitBit reads a port until a bit of its upper byte is set: mov dx, port; in
// ax, dx; test ah, bit; jz back to in.
func (p program) awaitBit(port uint16, bit byte) program {
	return append(p, 0x66, 0xba, byte(port), byte(port>>8), 0x66, 0xed, 0xf6, 0xc4, bit, 0x74, 0xf9)
}

// hang stops for ever: hlt; jmp back.
func (p program) hang() program { return append(p, 0xf4, 0xeb, 0xfd) }

// say writes text to the first serial port.
func (p program) say(text string) program {
	for i := range len(text) {
		p = p.outb(0x3f8, text[i])
	}
	return p
}

// Ports of QEMU's q35 after its firmware has run.
const (
	pm1Enable  = 0x602 // which ACPI events are reported; bit 8: the power button
	pm1Status  = 0x600
	pm1Control = 0x604 // bit 13: sleep, here power off
	resetPort  = 0xcf9
)

func (p program) powerOff() program { return p.outw(pm1Control, 1<<13) }

// kernel writes the program to a file that QEMU boots: one with a Multiboot
// header that says where a flat image is loaded and entered. Source:
// https://www.gnu.org/software/grub/manual/multiboot/multiboot.html.
func (p program) kernel(t *testing.T) string {
	t.Helper()
	const magic, flags, base = 0x1badb002, 1 << 16, 1 << 20
	const size = 32
	var head []byte
	sum := uint32(magic + flags)
	for _, v := range []uint32{magic, flags, -sum, base, base, 0, 0, base + size} {
		head = binary.LittleEndian.AppendUint32(head, v)
	}
	file := filepath.Join(t.TempDir(), "kernel")
	if err := os.WriteFile(file, append(head, p...), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// machine starts a machine, which is killed at the end of the test.
func machine(t *testing.T, change func(*qemu.Config)) *qemu.Process {
	t.Helper()
	needQEMU(t)
	cfg := qemu.Config{Name: t.Name(), Memory: 64 << 20}
	change(&cfg)
	p, err := qemu.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

// ready is what a guest says on its console when it has got that far.
const ready = "ready"

// booted starts a machine with a guest that says ready, and waits for that.
func booted(t *testing.T, guest program) *qemu.Process {
	t.Helper()
	console := filepath.Join(t.TempDir(), "console")
	p := machine(t, func(c *qemu.Config) {
		c.Kernel, c.Paused = guest.kernel(t), true
		c.Console.Socket = qemu.Socket(console)
	})
	conn, err := net.Dial("unix", console)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	awaitReady(t, p, conn)
	return p
}

// awaitReady lets the guest of a paused machine run until it says ready.
func awaitReady(t *testing.T, p *qemu.Process, console net.Conn) {
	t.Helper()
	if err := p.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	console.SetReadDeadline(time.Now().Add(5 * time.Minute))
	var got []byte
	for b := make([]byte, 16); !strings.Contains(string(got), ready); {
		n, err := console.Read(b)
		if err != nil {
			t.Fatalf("console: %v after %q", err, got)
		}
		got = append(got, b[:n]...)
	}
}

// wait returns how the machine ended.
func wait(t *testing.T, p *qemu.Process) qemu.Exit {
	t.Helper()
	exit, err := p.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return exit
}

// freeze stops a process as if it were stuck.
func freeze(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
}
