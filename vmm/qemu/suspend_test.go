package qemu_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"satchel/vmm/memory"
	"satchel/vmm/qemu"
)

// ram is a memory for a machine, closed at the end of the test.
func ram(t *testing.T, size int64) *os.File {
	t.Helper()
	f, err := memory.New(size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// echo answers each byte on the serial port with the number of bytes there
// have been, from 'a' on, which it keeps at an address in memory: wait for bit 0
// of port 3fd; in al, 3f8; inc byte [2 MiB]; mov al, [2 MiB]; out 3f8, al.
func (p program) echo() program {
	p = append(p, 0xc6, 0x05, 0, 0, 0x20, 0, 'a'-1) // mov byte [2 MiB], 'a'-1
	p = p.say(ready)
	loop := program{
		0x66, 0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xf7, // mov dx, 3fd; in al, dx; test al, 1; jz
		0x66, 0xba, 0xf8, 0x03, 0xec, // mov dx, 3f8; in al, dx
		0xfe, 0x05, 0, 0, 0x20, 0, // inc byte [2 MiB]
		0xa0, 0, 0, 0x20, 0, 0xee, // mov al, [2 MiB]; out dx, al
	}
	return append(append(p, loop...), 0xeb, byte(-(len(loop) + 2)))
}

// console types a byte and returns what the guest answers.
func typed(t *testing.T, console net.Conn) string {
	t.Helper()
	console.SetDeadline(time.Now().Add(5 * time.Minute))
	if _, err := console.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	var b [1]byte
	if _, err := io.ReadFull(console, b[:]); err != nil {
		t.Fatal(err)
	}
	return string(b[:])
}

// A machine that is saved, ended and made again goes on in the midst of its
// program, and one that is saved and resumed does too.
func TestSaveAndLoad(t *testing.T) {
	needQEMU(t)
	dir := t.TempDir()
	kernel := program{}.echo().kernel(t)
	socket := filepath.Join(dir, "state")
	start := func(name string, memory *os.File, incoming bool) (*qemu.Process, net.Conn) {
		console := filepath.Join(dir, name)
		p := machine(t, func(c *qemu.Config) {
			c.Kernel, c.RAM, c.Paused, c.Incoming = kernel, memory, true, incoming
			c.Console.Socket = qemu.Socket(console)
		})
		conn, err := net.Dial("unix", console)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return p, conn
	}
	first := ram(t, 64<<20)
	p, console := start("first", first, false)
	awaitReady(t, p, console)
	got := typed(t, console)
	if err := p.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	var state bytes.Buffer
	if err := p.Save(t.Context(), socket, &state); err != nil {
		t.Fatal(err)
	}
	if err := p.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	got += typed(t, console)
	if err := p.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	state.Reset()
	if err := p.Save(t.Context(), socket, &state); err != nil {
		t.Fatal(err)
	}
	version := p.Version()
	p.Kill()

	file := filepath.Join(dir, "memory")
	sum, err := memory.Save(t.Context(), first, file)
	if err != nil {
		t.Fatal(err)
	}
	second, err := memory.Load(t.Context(), file, sum)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	p, console = start("second", second, true)
	if err := p.Load(t.Context(), socket, &state); err != nil {
		t.Fatal(err)
	}
	if p.Version() != version || !strings.Contains(version, ".") {
		t.Errorf("version %q, and %q before", p.Version(), version)
	}
	if err := p.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got += typed(t, console); got != "abc" {
		t.Errorf("the guest counted %q, want abc", got)
	}
}

func TestLoadNonsense(t *testing.T) {
	for name, state := range map[string]string{"empty": "", "text": strings.Repeat("no state ", 1000)} {
		p := machine(t, func(c *qemu.Config) { c.RAM, c.Incoming = ram(t, c.Memory), true })
		if err := p.Load(t.Context(), filepath.Join(t.TempDir(), "state"), strings.NewReader(state)); !errors.Is(err, qemu.ErrIncoming) {
			t.Errorf("%s: %v, want %v", name, err, qemu.ErrIncoming)
		}
	}
}

// A state that cannot be written leaves a machine that goes on.
func TestSaveThatFails(t *testing.T) {
	p := machine(t, func(c *qemu.Config) { c.RAM = ram(t, c.Memory) })
	if err := p.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	full := errors.New("the disk is full")
	if err := p.Save(t.Context(), filepath.Join(t.TempDir(), "state"), failing{full}); !errors.Is(err, full) {
		t.Errorf("save: %v, want %v", err, full)
	}
	if err := p.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	if status, err := p.Status(t.Context()); err != nil || status != "running" {
		t.Errorf("status %q, %v", status, err)
	}
}

type failing struct{ error }

func (f failing) Write([]byte) (int, error) { return 0, f.error }
