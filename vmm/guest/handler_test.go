package guest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"satchel/vmm/agent"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// needRoot skips the test unless it runs as root, and says what for.
func needRoot(t *testing.T, what string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: " + what)
	}
}

// readyConn returns both ends of a socket like the one for the init's messages.
func readyConn(t *testing.T) (net.PacketConn, net.Conn) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "ready")
	in, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	out, err := net.Dial("unixgram", name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = in.Close(), out.Close() })
	return in, out
}

func TestReady(t *testing.T) {
	in, out := readyConn(t)
	r := watchReady(in)
	for _, msg := range []string{"STATUS=Starting\nNOT_READY=1", "READY=0", "X_READY=1", "STATUS=up\nREADY=1"} {
		select {
		case <-r.done:
			t.Fatalf("ready before %q", msg)
		default:
		}
		if _, err := io.WriteString(out, msg); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.wait(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestReadyEnds(t *testing.T) {
	in, _ := readyConn(t)
	r := watchReady(in)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("caller gave up: %v", err)
	}
	if err := in.Close(); err != nil {
		t.Error(err)
	}
	if err := r.wait(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("socket closed: %v", err)
	}
}

func TestLastWords(t *testing.T) {
	err := errors.Join(errors.New("no disk"), errors.New("load module ext4.ko: bad"))
	if got, want := lastWords(err), "satchel: cannot start: no disk; load module ext4.ko: bad"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWorkDir(t *testing.T) {
	home := t.TempDir()
	for _, tt := range []struct{ asked, home, want string }{
		{"", home, home},
		{"", "/nonexistent", "/"},
		{"", "", "/"},
		{"/usr", home, "/usr"},
	} {
		if got, err := workDir(tt.asked, tt.home); got != tt.want || err != nil {
			t.Errorf("workDir(%q, %q) = %q, %v; want %q", tt.asked, tt.home, got, err, tt.want)
		}
	}
	if _, err := workDir(filepath.Join(home, "x"), home); err == nil || errors.Is(err, os.ErrNotExist) {
		t.Errorf("a directory that is not there: %v, want an error that is not the command's", err)
	}
}

func TestDoWithoutGuest(t *testing.T) {
	h := NewHandler(Guest{})
	for op, ok := range map[agent.Op]bool{
		agent.OpReady: true, agent.OpSync: true, agent.OpFreeze: false, agent.OpThaw: false,
		agent.OpClock: false, agent.OpPoweroff: false, agent.OpReboot: false, "dance": false,
	} {
		if err := h.Do(t.Context(), agent.Request{Op: op}); (err == nil) != ok {
			t.Errorf("%s: %v", op, err)
		}
	}
}

// TestInsideAnother runs a command in the mount namespace and root of another
// process, as the agent does in those of the guest's init.
func TestInsideAnother(t *testing.T) {
	needRoot(t, "to enter a mount namespace")
	here, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	// The other process sees a tmpfs that this one does not, and has it as root.
	other := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c",
		`mount -t tmpfs none "$1" && mkdir "$1/usr" "$1/etc" && mount --rbind /usr "$1/usr" && ln -s usr/bin usr/lib usr/lib64 "$1" &&
		echo 'PRETTY_NAME="Other"' > "$1/etc/os-release" && echo 'mia:x:1234:2345::/etc:/bin/sh' > "$1/etc/passwd" && echo 'x:x:99:mia' > "$1/etc/group" &&
		exec chroot "$1" sh -c 'echo up; read end'`, "sh", dir)
	in, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	up, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); _ = other.Wait() })
	if _, err := io.ReadFull(up, make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	h := NewHandler(Guest{PID: other.Process.Pid})
	for _, tt := range []struct {
		cmd  agent.Command
		want string
	}{
		{agent.Command{Argv: []string{"sh", "-c", "echo /*; pwd"}}, "/bin /etc /lib /lib64 /usr\n/\n"},
		{agent.Command{Argv: []string{"sh", "-c", "id -u; id -G; pwd; echo $HOME"}, User: "mia"}, "1234\n2345 99\n/etc\n/etc\n"},
	} {
		var out, errOut bytes.Buffer
		p, err := h.Start(tt.cmd, eof{}, &out, &errOut)
		if err != nil {
			t.Fatal(err)
		}
		if code, err := p.Wait(); code != 0 || err != nil || out.String() != tt.want {
			t.Errorf("%q: %q, %q, %d, %v; want %q", tt.cmd.Argv, out.String(), errOut.String(), code, err, tt.want)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "etc")); err == nil {
		t.Error("this process sees the other's root")
	}
	var g errgroup.Group
	for range 200 {
		g.Go(func() error { return inside(other.Process.Pid, func() error { return nil }) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	// Or what others unmount would stay mounted.
	if now, err := os.Readlink("/proc/self/ns/mnt"); err != nil || now != here {
		t.Errorf("the main thread stayed in %s, %v; want %s", now, err, here)
	}
	if _, err := NewHandler(Guest{PID: 1 << 30}).Start(agent.Command{Argv: []string{"true"}}, eof{}, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), "enter guest") {
		t.Errorf("a process that is not there: %v", err)
	}
}

// mountExt4 mounts a new ext4 file system and returns where.
func mountExt4(t *testing.T) string {
	t.Helper()
	needRoot(t, "to mount a file system")
	dir := t.TempDir()
	image, at := filepath.Join(dir, "image"), filepath.Join(dir, "at")
	for _, args := range [][]string{
		{"truncate", "--size=32M", image}, {"mke2fs", "-q", "-F", "-t", "ext4", image}, {"mkdir", at}, {"mount", "-o", "loop", image, at},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			if args[0] == "mount" {
				t.Skipf("needs loop devices: %s", out)
			}
			t.Fatalf("%v: %v: %s", args, err, out)
		}
	}
	t.Cleanup(func() {
		if err := unix.Unmount(at, 0); err != nil {
			t.Error(err)
		}
	})
	return at
}

// write writes to the file system in the background and says when it is done.
func write(dir string) <-chan error {
	done := make(chan error, 1)
	go func() { done <- os.WriteFile(filepath.Join(dir, "file"), []byte("x"), 0o600) }()
	return done
}

func TestFreeze(t *testing.T) {
	f := &freezer{dir: mountExt4(t)}
	if err := f.freeze(0); err != nil {
		t.Fatal(err)
	}
	if err := f.freeze(time.Hour); err != nil {
		t.Errorf("freeze again: %v", err)
	}
	done := write(f.dir)
	select {
	case err := <-done:
		t.Fatalf("wrote while frozen: %v", err)
	default:
	}
	if err := f.thaw(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := f.thaw(); !errors.Is(err, errThawed) {
		t.Errorf("thaw again: %v", err)
	}
}

func TestFreezeEndsByItself(t *testing.T) {
	f := &freezer{dir: mountExt4(t)}
	if err := f.freeze(time.Nanosecond); err != nil {
		t.Fatal(err)
	}
	if err := <-write(f.dir); err != nil { // a frozen file system would hold this
		t.Error(err)
	}
	if err := f.thaw(); !errors.Is(err, errThawed) {
		t.Errorf("thaw: %v", err)
	}
}

// TestFreezeProlonged checks that the timer of a freeze does not end the next.
func TestFreezeProlonged(t *testing.T) {
	f := &freezer{dir: mountExt4(t)}
	if err := f.freeze(time.Hour); err != nil {
		t.Fatal(err)
	}
	old := f.turn
	if err := f.freeze(time.Hour); err != nil {
		t.Fatal(err)
	}
	f.expire(old)
	if err := f.thaw(); err != nil {
		t.Errorf("an old timer ended a prolonged freeze: %v", err)
	}
}
