package main

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"satchel/syncer/device"
	"satchel/syncer/synctest"
	"satchel/vmm/session"
)

// guestTimeout bounds one boot or one stop, under emulation on a busy machine.
const guestTimeout = 5 * time.Minute

// A campus is a server with a published guest, ana's workspace on it, and a line
// of 100 Mbit/s and a round trip of 20 ms that her devices are on.
type campus struct {
	t    testing.TB
	line *synctest.Line
	ca   string
	srv  string
	end  func() // ends the server
}

// newCampus starts it, with the guest of a tar file that $SATCHEL_TEST_GUESTS
// holds, or of a directory.
func newCampus(t testing.TB, guest string) *campus {
	t.Helper()
	guests, binary := guestsAndInit(t)
	if !filepath.IsAbs(guest) {
		guest = filepath.Join(guests, guest)
	}
	t.Setenv("SATCHEL_GUEST", binary)
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	c := &campus{t: t, srv: filepath.Join(t.TempDir(), "server")}
	var made struct {
		AdminToken  string `json:"admin_token"`
		Fingerprint string `json:"ca_fingerprint"`
	}
	c.facts(&made, "", "server", "init", c.srv)
	t.Setenv("SATCHEL_ADMIN_TOKEN", made.AdminToken)
	c.ca = made.Fingerprint
	l, err := net.Listen("tcp", "127.0.0.1:0")
	c.must(err)
	addr := l.Addr().String()
	c.must(l.Close())
	c.serve(addr)
	c.line = synctest.NewLine(t, addr, 100_000_000/8, 10*time.Millisecond)

	c.admin(addr, "user", "add", "build", "--publisher")
	c.admin(addr, "user", "add", "ana")
	press := c.enrol(addr, "build", "press")
	satchel(t, press, "layer", "import", "--kind", "os", "debian", guest)
	satchel(t, press, "publish", "debian")
	c.admin(addr, "layer", "grant", "debian", "read", "all")
	c.admin(addr, "workspace", "create", "school", "--user", "ana", "--os", "debian")
	return c
}

func (c *campus) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// serve runs the server until end is called.
func (c *campus) serve(addr string) {
	c.t.Helper()
	cmd := exec.Command("satchel", "server", "run", c.srv, "--listen", addr, "--host", "127.0.0.1")
	var log bytes.Buffer
	cmd.Stderr = &log
	c.must(cmd.Start())
	c.end = func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
		c.end = func() {}
	}
	c.t.Cleanup(func() { c.end() })
	for range 300 {
		if conn, err := net.Dial("tcp", addr); err == nil {
			conn.Close()
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	c.t.Fatalf("no server: %s", log.String())
}

// facts runs a verb and reads the facts that it prints.
func (c *campus) facts(into any, home string, argv ...string) {
	c.t.Helper()
	if home == "" {
		home = c.t.TempDir()
	}
	out := satchel(c.t, home, append(argv, "--json")...)
	if err := json.Unmarshal(out, into); err != nil {
		c.t.Fatalf("satchel %q: %v\n%s", argv, err, out)
	}
}

func (c *campus) admin(addr string, argv ...string) []byte {
	c.t.Helper()
	return satchel(c.t, c.t.TempDir(), append(append([]string{"admin"}, argv...), "--server", "https://"+addr, "--ca-fingerprint", c.ca)...)
}

// enrol returns the home of a new device of a user, which reaches the server at
// that address.
func (c *campus) enrol(addr, user, name string) string {
	c.t.Helper()
	home := filepath.Join(c.t.TempDir(), name)
	var token struct{ Secret string }
	out := satchel(c.t, c.t.TempDir(), "admin", "token", "add", user, "--json", "--server", "https://"+addr, "--ca-fingerprint", c.ca)
	c.must(json.Unmarshal(out, &token))
	satchel(c.t, home, "enrol", "https://"+addr, "--token", token.Secret, "--ca-fingerprint", c.ca, "--name", name)
	return home
}

// A boot is a run of the workspace.
type boot struct {
	c    *campus
	home string
	cmd  *exec.Cmd
	out  bytes.Buffer
	errs *os.File // what it says while it runs
	gone chan error
}

// run starts a run of the workspace.
func (c *campus) run(home string) *boot {
	c.t.Helper()
	b := &boot{c: c, home: home, cmd: satchelCommand(home, "run", "school", "--json", "--memory", "768M", "--cpus", "1"), gone: make(chan error, 1)}
	var err error
	b.errs, err = os.Create(filepath.Join(c.t.TempDir(), "stderr"))
	c.must(err)
	c.t.Cleanup(func() { b.errs.Close() })
	b.cmd.Stdout, b.cmd.Stderr = &b.out, b.errs
	c.must(b.cmd.Start())
	go func() { b.gone <- b.cmd.Wait() }()
	c.t.Cleanup(func() { _ = b.cmd.Process.Kill() }) // it has ended, if all went well
	return b
}

// ready waits until the guest is up.
func (b *boot) ready() session.Status {
	b.c.t.Helper()
	var last session.Status
	for began := time.Now(); time.Since(began) < guestTimeout; time.Sleep(100 * time.Millisecond) {
		select {
		case err := <-b.gone:
			b.c.t.Fatalf("the run ended: %v\n%s", err, b.said())
		default:
		}
		client, err := session.Dial(b.c.t.Context(), b.home, "school")
		if err != nil {
			continue
		}
		if last, err = client.Status(b.c.t.Context()); err == nil && last.Ready {
			return last
		}
	}
	b.c.t.Fatalf("the guest is not up: %+v\n%s\n%s", last, b.said(), b.console())
	return last
}

// said returns what the run has told the person at the device.
func (b *boot) said() string {
	text, err := os.ReadFile(b.errs.Name())
	b.c.must(err)
	return string(text)
}

func (b *boot) console() string {
	text, err := os.ReadFile(filepath.Join(b.home, "workspaces", "school", "console.log"))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// exec runs a command in the guest.
func (b *boot) exec(argv ...string) string {
	b.c.t.Helper()
	return string(satchel(b.c.t, b.home, append([]string{"exec", "school", "--"}, argv...)...))
}

// stop ends the guest and returns what the run printed.
func (b *boot) stop() ran {
	b.c.t.Helper()
	satchel(b.c.t, b.home, "stop", "school")
	if err := <-b.gone; err != nil {
		b.c.t.Fatalf("run: %v\n%s", err, b.said())
	}
	var r ran
	if err := json.Unmarshal(b.out.Bytes(), &r); err != nil {
		b.c.t.Fatalf("run: %v\n%s", err, b.out.String())
	}
	return r
}

// filled waits until the workspace is offline-ready.
func (c *campus) filled(home string) {
	c.t.Helper()
	var st device.Status
	for began := time.Now(); time.Since(began) < guestTimeout; time.Sleep(500 * time.Millisecond) {
		c.facts(&st, home, "status")
		if len(st.Workspaces) == 1 && st.Workspaces[0].Ready {
			return
		}
	}
	c.t.Fatalf("not offline-ready: %+v", st.Workspaces)
}

// TestLazy runs a workspace on a device that has nothing of it, loses the network
// in the middle of its boot, and in the end does without.
func TestLazy(t *testing.T) {
	var cut time.Duration
	if text := os.Getenv("SATCHEL_TEST_CUT"); text != "" { // 60s, by hand
		var err error
		if cut, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	c := newCampus(t, "os-v1.tar")
	laptop := c.enrol(c.line.Addr(), "ana", "laptop")
	b := c.run(laptop)
	before := c.line.Down()
	for began := time.Now(); !strings.Contains(b.console(), "satchel: handing over"); time.Sleep(50 * time.Millisecond) {
		if time.Since(began) > guestTimeout {
			t.Fatalf("the guest does not start:\n%s\n%s", b.said(), b.console())
		}
	}
	c.line.Interrupt()
	cutAt := time.Now()
	for !strings.Contains(b.said(), "the guest waits") {
		if time.Since(cutAt) > guestTimeout {
			t.Fatalf("the guest does not wait:\n%s\n%s", b.said(), b.console())
		}
		time.Sleep(50 * time.Millisecond)
	}
	time.Sleep(cut - time.Since(cutAt))
	if client, err := session.Dial(t.Context(), laptop, "school"); err != nil {
		t.Error(err)
	} else if st, err := client.Status(t.Context()); err != nil || st.Ready {
		t.Errorf("ready without a network: %+v, %v", st, err)
	}
	c.line.Mend()
	b.ready()
	if failed := b.exec("sh", "-c", "dmesg | grep -i 'i/o error\\|erofs.*error' || true; systemctl --failed --no-legend"); failed != "" {
		t.Errorf("in the guest:\n%s", failed)
	}
	b.exec("sh", "-c", "echo kept > /root/note")
	c.filled(laptop)
	fetched := c.line.Down() - before
	r := b.stop()
	if r.Arrival == nil || r.Arrival.Missed == 0 || r.Arrival.Fetched >= fetched {
		t.Errorf("%d bytes came; until the guest was ready: %+v", fetched, r.Arrival)
	}
	if said := b.said(); !strings.Contains(said, "the guest goes on") || !strings.Contains(said, "offline-ready") {
		t.Errorf("it said:\n%s", said)
	}
	satchel(t, laptop, "store", "verify")
	c.end()
	again := c.run(laptop)
	again.ready()
	if note := again.exec("cat", "/root/note"); note != "kept\n" {
		t.Errorf("the note says %q", note)
	}
	if r := again.stop(); r.Arrival != nil {
		t.Errorf("off line it fetched %+v", r.Arrival)
	}
}
