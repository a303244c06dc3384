package qemu_test

import (
	"context"
	"errors"
	"fmt"
	"image/png"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"satchel/vmm/qemu"
	"satchel/vmm/qemu/qmp"
)

func TestMain(m *testing.M) {
	if os.Getenv("SATCHEL_TEST_ORPHAN") != "" {
		startAndHang()
	}
	goleak.VerifyTestMain(m)
}

func TestExitCauses(t *testing.T) {
	for name, tc := range map[string]struct {
		guest program
		end   func(*qemu.Process)
		want  qemu.Cause
	}{
		"guest powers off": {guest: program{}.powerOff(), want: qemu.GuestShutdown},
		"guest reboots":    {guest: program{}.outb(resetPort, 6), want: qemu.GuestReset},
		"quit":             {guest: program{}.hang(), want: qemu.HostQuit, end: func(p *qemu.Process) { p.Quit(t.Context()) }},
		"kill":             {guest: program{}.hang(), want: qemu.Killed, end: (*qemu.Process).Kill},
		"terminate":        {guest: program{}.hang(), want: qemu.HostSignal, end: func(p *qemu.Process) { syscall.Kill(p.PID(), syscall.SIGTERM) }},
		"crash":            {guest: program{}.hang(), want: qemu.Crashed, end: func(p *qemu.Process) { syscall.Kill(p.PID(), syscall.SIGSEGV) }},
	} {
		t.Run(name, func(t *testing.T) {
			p := machine(t, func(c *qemu.Config) { c.Kernel = tc.guest.kernel(t) })
			if tc.end != nil {
				tc.end(p)
			}
			if exit := wait(t, p); exit.Cause != tc.want {
				t.Errorf("exit %v (%+v), want %v", exit, exit, tc.want)
			}
			if err := p.Quit(t.Context()); !errors.Is(err, qmp.ErrClosed) {
				t.Errorf("quit after the end: %v, want %v", err, qmp.ErrClosed)
			}
		})
	}
}

func TestPauseAndResume(t *testing.T) {
	p := machine(t, func(c *qemu.Config) { c.Paused = true })
	for _, step := range []struct {
		do   func(context.Context) error
		want string
	}{
		{nil, "prelaunch"},
		{p.Resume, "running"},
		{p.Pause, "paused"},
		{p.Resume, "running"},
	} {
		if step.do != nil {
			if err := step.do(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := p.Status(t.Context()); err != nil || got != step.want {
			t.Fatalf("status %q, %v, want %q", got, err, step.want)
		}
	}
	p.Kill()
	var names []string
	for e := range p.Events() {
		names = append(names, e.Name)
	}
	if got, want := strings.Join(names, " "), "RESUME STOP RESUME"; got != want {
		t.Errorf("events %q, want %q", got, want)
	}
}

func TestScreendump(t *testing.T) {
	p := machine(t, func(c *qemu.Config) { c.Paused, c.Display.Device = true, "VGA" })
	file := filepath.Join(t.TempDir(), "screen, 1.png")
	if err := p.Screendump(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if img, err := png.Decode(f); err != nil || img.Bounds().Empty() {
		t.Errorf("screen: %v, %v", img, err)
	}
}

func TestScreendumpWithoutScreen(t *testing.T) {
	p := machine(t, func(c *qemu.Config) { c.Paused = true })
	var refused *qmp.Error
	if err := p.Screendump(t.Context(), filepath.Join(t.TempDir(), "x.png")); !errors.As(err, &refused) {
		t.Errorf("got %v, want QEMU's refusal", err)
	}
}

func TestEverythingAtOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a,b") // a comma is special to QEMU
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(in("delta"), make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	p := machine(t, func(c *qemu.Config) {
		c.CPUs = 2
		c.Kernel = program{}.say(ready).hang().kernel(t)
		c.Delta, c.RAM = in("delta"), ram(t, c.Memory)
		c.Agent, c.QMP = qemu.Socket(in("agent")), in("qmp")
		c.Console = qemu.Console{Socket: qemu.Socket(in("console")), Log: in("console.log")}
		c.Display = qemu.Display{Kind: qemu.VNC, VNC: in("vnc")}
		c.Network = qemu.Network{Mode: qemu.User, Restrict: true}
		c.Log, c.Paused = in("log"), true
	})
	for _, name := range []string{"agent", "vnc", "console"} {
		conn, err := net.Dial("unix", in(name))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if name == "console" {
			awaitReady(t, p, conn)
		}
	}
	second, err := qmp.Dial(t.Context(), in("qmp"))
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if err := second.Execute(t.Context(), "quit", nil, nil); err != nil {
		t.Error(err)
	}
	if exit := wait(t, p); exit.Cause != qemu.HostQuit {
		t.Errorf("exit %+v", exit)
	}
	if log, err := os.ReadFile(in("console.log")); err != nil || !strings.Contains(string(log), ready) {
		t.Errorf("console log %q, %v", log, err)
	}
}

func TestStartFailures(t *testing.T) {
	needQEMU(t)
	t.Setenv("DISPLAY", "")
	t.Setenv("WAYLAND_DISPLAY", "")
	for name, tc := range map[string]struct {
		change  func(*qemu.Config)
		message string
		hint    string
	}{
		"no QEMU":         {func(c *qemu.Config) { c.Binary = "no-such-qemu" }, "not found", "qemu-system-x86"},
		"no QEMU there":   {func(c *qemu.Config) { c.Binary = "/no/such/qemu" }, "no such file", "qemu-system-x86"},
		"no kernel":       {func(c *qemu.Config) { c.Kernel = "/no/such/kernel" }, "could not open kernel file", ""},
		"no block server": {func(c *qemu.Config) { c.Root = "/no/such/socket" }, "/no/such/socket", ""},
		"no disk server":  {func(c *qemu.Config) { c.Disk.Socket = "/no/such/disk" }, "/no/such/disk", ""},
		"small memory":    {func(c *qemu.Config) { c.RAM = ram(t, 4096) }, "size", ""},
		"no desktop":      {func(c *qemu.Config) { c.Display.Kind = qemu.Window }, "gtk", "--display vnc"},
		"ends at once":    {func(c *qemu.Config) { c.Binary = "true" }, "ended at once: exit status 0", ""},
		"no log":          {func(c *qemu.Config) { c.Log = "/no/such/log" }, "open log", ""},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := qemu.Config{Memory: 64 << 20, Paused: true}
			tc.change(&cfg)
			p, err := qemu.Start(t.Context(), cfg)
			if err == nil {
				p.Kill()
				t.Fatal("started")
			}
			text := strings.ToLower(err.Error())
			if !strings.Contains(text, tc.message) || !strings.Contains(text, tc.hint) {
				t.Errorf("got %q, want it to say %q and %q", err, tc.message, tc.hint)
			}
		})
	}
}

func TestStartCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	// A QEMU that never greets.
	silent := filepath.Join(t.TempDir(), "silent")
	if err := os.WriteFile(silent, []byte("#!/bin/sh\nexec sleep 1000\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(50*time.Millisecond, cancel)
	_, err := qemu.Start(ctx, qemu.Config{Binary: silent, Memory: 64 << 20})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want cancelled", err)
	}
}

func TestSecondMachineOnOneDelta(t *testing.T) {
	delta := filepath.Join(t.TempDir(), "delta")
	if err := os.WriteFile(delta, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	machine(t, func(c *qemu.Config) { c.Delta, c.Paused = delta, true })
	p, err := qemu.Start(t.Context(), qemu.Config{Memory: 64 << 20, Delta: delta, Paused: true})
	if err == nil {
		p.Kill()
		t.Fatal("two machines write to one disk")
	}
	var failed *qemu.StartError
	if !errors.As(err, &failed) || !strings.Contains(failed.Hint, "another QEMU") {
		t.Errorf("got %v, want a hint at the other machine", err)
	}
}

// startAndHang is the parent in [TestQEMUDoesNotOutliveUs].
func startAndHang() {
	p, err := qemu.Start(context.Background(), qemu.Config{Memory: 64 << 20, Paused: true})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(p.PID())
	<-p.Exited()
	os.Exit(0)
}

func TestQEMUDoesNotOutliveUs(t *testing.T) {
	needQEMU(t)
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), "SATCHEL_TEST_ORPHAN=1")
	parent.Stderr = os.Stderr
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Fscan(out, &pid); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	parent.Process.Kill()
	parent.Wait()
	// A pidfd becomes readable when its process ends.
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(poll, 30_000)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n != 1 {
			t.Errorf("QEMU has outlived the process that started it: %v", err)
		}
		return
	}
}
