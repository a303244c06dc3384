package guest_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"satchel/vmm/agent"
	"satchel/vmm/delta"
	"satchel/vmm/guest"
	"satchel/vmm/initramfs"
	"satchel/vmm/qemu"
)

// shell runs a script in the guest and returns its output and exit code.
func shell(t *testing.T, c *agent.Client, script string) (string, int) {
	t.Helper()
	var out bytes.Buffer
	code, err := c.Exec(t.Context(), agent.ExecRequest{Argv: []string{"sh", "-c", script}, Stdout: &out, Stderr: &out})
	if err != nil {
		t.Fatalf("%s: %v", script, err)
	}
	return strings.TrimSpace(out.String()), code
}

// TestGuest follows one guest from its start to its end.
func TestGuest(t *testing.T) {
	disk := newDelta(t)
	m := boot(t, disk, initramfs.CommandLineOptions{Ldconfig: true, Mask: initramfs.SlowUnits, Hostname: "spruce"})
	c := m.dial()
	info, err := c.Hello(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	answered := time.Since(m.started)
	if out, code := shell(t, c, "echo early"); out != "early" || code != 0 {
		t.Errorf("command before the guest is ready: %q, %d", out, code)
	}
	if err := c.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("%q; agent after %v, ready after %v", linesOf(m.console(), guest.Marker, guest.Handover), answered.Round(time.Millisecond), time.Since(m.started).Round(time.Millisecond))
	if info.Kernel == "" || !strings.HasPrefix(info.OS, "Debian GNU/Linux") {
		t.Errorf("hello says %+v", info)
	}
	if info, err = c.Info(t.Context()); err != nil || info.Hostname != "spruce" {
		t.Errorf("info says %+v, %v", info, err)
	}
	t.Run("commands", func(t *testing.T) { testCommands(t, c) })
	t.Run("streams", func(t *testing.T) { testStreams(t, c) })
	t.Run("freeze", func(t *testing.T) { testFreeze(t, c, disk) })
	t.Run("thaws itself", func(t *testing.T) { testThaw(t, c) })

	// A host that is lost with a command in full flow leaves the port usable.
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, _ = c.Exec(ctx, agent.ExecRequest{Argv: []string{"cat", "/dev/zero"}, Stdout: cancelling{cancel}})
	}()
	<-ctx.Done()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	c = m.dial()
	if _, err := c.Hello(t.Context()); err != nil {
		t.Fatalf("second host: %v", err)
	}
	if err := c.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if exit := m.end(); exit.Cause != qemu.GuestShutdown {
		t.Errorf("machine ended by %v", exit)
	}
	wantClean(t, disk)
	if !strings.Contains(m.console(), guest.DeltaClosed) {
		t.Error("console does not say that the delta is closed")
	}
}

// linesOf returns the lines of a console that begin with one of some words.
func linesOf(console string, words ...string) (found []string) {
	for line := range strings.Lines(console) {
		if slices.ContainsFunc(words, func(w string) bool { return strings.HasPrefix(line, w) }) {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return found
}

// cancelling is a writer that ends its context at the first write.
type cancelling struct{ cancel context.CancelFunc }

func (c cancelling) Write(p []byte) (int, error) { c.cancel(); return len(p), nil }

func testCommands(t *testing.T, c *agent.Client) {
	t.Helper()
	for _, tt := range []struct {
		script, out string
		code        int
	}{
		{"exit 7", "", 7},
		{"kill -TERM $$", "", 128 + int(syscall.SIGTERM)},
		{"pwd; echo $HOME $USER", "/root\n/root root", 0},
		{"systemctl is-active multi-user.target", "active", 0},
		{"findmnt -no FSTYPE / 2>/dev/null || awk '$2 == \"/\" {print $3}' /proc/mounts", "overlay", 0},
		{"awk '$2 == \"/delta\" || $2 == \"/lower\"' /proc/mounts", "", 0},
		{"test -s /etc/ld.so.cache && stat -c %h /etc/ld.so.cache", "1", 0},
		{"mkdir /run/m && mount -t tmpfs none /run/m && umount /run/m && echo ok", "ok", 0},
		{"hostname", "spruce", 0},
	} {
		if out, code := shell(t, c, tt.script); out != tt.out || code != tt.code {
			t.Errorf("%s: %q, %d; want %q, %d", tt.script, out, code, tt.out, tt.code)
		}
	}
	code, err := c.Exec(t.Context(), agent.ExecRequest{Argv: []string{"no-such-command"}})
	if guestErr := (*agent.GuestError)(nil); code != agent.CodeNotFound || !errors.As(err, &guestErr) {
		t.Errorf("no such command: %d, %v", code, err)
	}
	var out bytes.Buffer
	code, err = c.Exec(t.Context(), agent.ExecRequest{
		Argv: []string{"sh", "-c", "id -un; stty size"}, User: "nobody", Dir: "/", TTY: &agent.Size{Rows: 33, Cols: 99}, Stdout: &out,
	})
	if got := out.String(); code != 0 || err != nil || got != "nobody\r\n33 99\r\n" {
		t.Errorf("on a terminal: %q, %d, %v", got, code, err)
	}
}

func testStreams(t *testing.T, c *agent.Client) {
	t.Helper()
	const size = 8 << 20
	random := func() io.Reader { return io.LimitReader(rand.NewChaCha8([32]byte{1}), size) }
	want, got := sha256.New(), sha256.New()
	if _, err := io.Copy(want, random()); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	code, err := c.Exec(t.Context(), agent.ExecRequest{Argv: []string{"cat"}, Stdin: random(), Stdout: got})
	if code != 0 || err != nil {
		t.Fatalf("cat: %d, %v", code, err)
	}
	if !bytes.Equal(got.Sum(nil), want.Sum(nil)) {
		t.Error("cat gave other bytes than it got")
	}
	t.Logf("%d MiB there and back in %v", size>>20, time.Since(began).Round(time.Millisecond))
}

func testFreeze(t *testing.T, c *agent.Client, disk string) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	busy := make(chan string, 1)
	go func() {
		_, _ = c.Exec(ctx, agent.ExecRequest{
			Argv:   []string{"sh", "-c", "while :; do echo x >> /root/busy; echo x > /root/more; sync; echo; done"},
			Stdout: first(busy),
		})
	}()
	<-busy
	shell(t, c, "echo kept > /root/kept")
	if err := c.Freeze(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	copied := disk + ".copy"
	if err := delta.Copy(t.Context(), disk, copied); err != nil {
		t.Fatal(err)
	}
	wantClean(t, copied)
	if err := c.Thaw(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop()
	if _, code := shell(t, c, "echo more >> /root/kept"); code != 0 {
		t.Errorf("write after the thaw: exit code %d", code)
	}
}

// first is a writer that passes on the first that is written.
type first chan<- string

func (f first) Write(p []byte) (int, error) {
	select {
	case f <- string(p):
	default:
	}
	return len(p), nil
}

func testThaw(t *testing.T, c *agent.Client) {
	t.Helper()
	if err := c.Freeze(t.Context(), 100*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if _, code := shell(t, c, "echo waited >> /root/kept && sync"); code != 0 {
		t.Errorf("write while frozen: exit code %d", code)
	}
	if err := c.Thaw(t.Context()); err == nil {
		t.Error("thaw of what had thawed by itself succeeded")
	}
}

// TestEarlyShutdown reboots a guest as soon as its agent answers, while its init
// is still starting, and powers it off the second time, on the same delta disk.
func TestEarlyShutdown(t *testing.T) {
	disk := newDelta(t)
	for _, tt := range []struct {
		ask  func(*agent.Client, context.Context) error
		want qemu.Cause
	}{
		{(*agent.Client).Reboot, qemu.GuestReset},
		{(*agent.Client).Shutdown, qemu.GuestShutdown},
	} {
		m := boot(t, disk, initramfs.CommandLineOptions{Mask: initramfs.SlowUnits})
		if err := tt.ask(m.dial(), t.Context()); err != nil {
			t.Fatal(err)
		}
		if exit := m.end(); exit.Cause != tt.want {
			t.Errorf("machine ended by %v, want %v", exit, tt.want)
		}
		wantClean(t, disk)
	}
}

// TestProbe starts a guest only to see that it starts.
func TestProbe(t *testing.T) {
	m := boot(t, "", initramfs.CommandLineOptions{Probe: true})
	if exit := m.end(); exit.Cause != qemu.GuestShutdown {
		t.Errorf("machine ended by %v", exit)
	}
	if !strings.Contains(m.console(), guest.Marker) {
		t.Errorf("no marker on the console")
	}
	t.Logf("%q", linesOf(m.console(), guest.Marker))
}

// TestCannotStart starts a guest without what it needs.
func TestCannotStart(t *testing.T) {
	for name, tt := range map[string]struct {
		disk string
		opt  initramfs.CommandLineOptions
		want string
	}{
		"no delta disk": {"", initramfs.CommandLineOptions{}, `no disk with serial "delta"`},
		"no init":       {newDelta(t), initramfs.CommandLineOptions{Extra: []string{"init=/sbin/none"}}, "start the guest's init /sbin/none"},
	} {
		t.Run(name, func(t *testing.T) {
			m := boot(t, tt.disk, tt.opt)
			if exit := m.end(); exit.Cause != qemu.GuestShutdown {
				t.Errorf("machine ended by %v", exit)
			}
			if got := m.console(); !strings.Contains(got, guest.CannotStart) || !strings.Contains(got, tt.want) {
				t.Errorf("console does not say %q", tt.want)
			}
		})
	}
}
