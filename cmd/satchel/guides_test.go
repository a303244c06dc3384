package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestGuides types what the guides say, line by line, with a server and homes of
// its own, and tiny trees in the place of operating systems. Guests are not
// started: those lines are left out, and systemd's.
func TestGuides(t *testing.T) {
	guides, err := filepath.Glob("../../docs/guides/*.md")
	if err != nil || len(guides) == 0 {
		t.Fatal(guides, err)
	}
	for _, guide := range guides {
		t.Run(strings.TrimSuffix(filepath.Base(guide), ".md"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(guide)
			if err != nil {
				t.Fatal(err)
			}
			r := newReader(t)
			for line := range strings.Lines(string(text)) {
				if command, is := strings.CutPrefix(line, "    "); is {
					r.typeIn(strings.TrimSpace(command))
				}
			}
		})
	}
}

// A reader does what a guide says.
type reader struct {
	t           *testing.T
	dir, addr   string
	token       string // the administrator's
	fingerprint string
	log         string // fingerprint of the publications
	device      string // whose home is used, unless it is the publisher's
}

func newReader(t *testing.T) *reader {
	r := &reader{t: t, dir: t.TempDir()}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.addr = l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	r.sh("mkdir bin tree office && ln -s \"$0\" bin/satchel && echo x > homework.txt && echo y > office/app")
	for _, name := range []string{"debian-12", "debian-13", "kiosk", "debian-12-new"} {
		r.sh("echo " + name + " > tree/os && tar -cf " + name + ".tar -C tree .")
	}
	return r
}

// typeIn runs one line.
func (r *reader) typeIn(line string) {
	r.t.Helper()
	verb := strings.Fields(line)[1]
	switch {
	case strings.HasPrefix(line, "systemctl"), verb == "run", verb == "stop":
		return
	case strings.HasPrefix(line, "satchel server run"):
		r.serve(line)
		return
	case verb == "enrol":
		r.device = after(line, "--name ")
		line = strings.Replace(line, "TOKEN", r.enrolment(), 1)
	}
	if verb == "admin" && strings.Contains(line, "admin login") {
		line = strings.Replace(line, "TOKEN", r.token, 1)
	}
	out := r.satchel(line)
	switch {
	case strings.HasPrefix(line, "satchel server init"):
		r.token, r.fingerprint = field(r.t, out, "admin_token"), field(r.t, out, "ca_fingerprint")
	case strings.HasPrefix(line, "satchel publisher init"):
		r.log = field(r.t, out, "fingerprint")
	}
}

// satchel runs a line in the home of whom it is for.
func (r *reader) satchel(line string) []byte {
	r.t.Helper()
	home := r.device
	switch strings.Fields(line)[1] {
	case "admin", "layer", "publish", "publisher", "withdraw":
		home = "build"
	}
	if strings.HasPrefix(line, "for ") {
		home = "build"
	}
	line = strings.NewReplacer(
		"/srv/satchel", "srv", "URL", "https://"+r.addr, "PUBLICATIONS", r.log, "FINGERPRINT", r.fingerprint,
		"satchel server init", "satchel --json server init", "satchel publisher init", "satchel --json publisher init",
	).Replace(line)
	return r.sh("export SATCHEL_HOME=$PWD/" + home + "; " + line)
}

func (r *reader) sh(line string) []byte {
	r.t.Helper()
	c := exec.Command("bash", "-euo", "pipefail", "-c", line, os.Args[0])
	c.Dir, c.Env = r.dir, append(os.Environ(), "PATH="+r.dir+"/bin:"+os.Getenv("PATH"))
	var said bytes.Buffer
	c.Stderr = &said
	out, err := c.Output()
	if err != nil {
		r.t.Fatalf("%s: %v\n%s%s", line, err, out, said.Bytes())
	}
	return out
}

func (r *reader) serve(line string) {
	c := exec.Command(filepath.Join(r.dir, "bin/satchel"), "server", "run", "srv", "--listen", r.addr, "--log-level", "error")
	c.Dir = r.dir
	if err := c.Start(); err != nil {
		r.t.Fatalf("%s: %v", line, err)
	}
	r.t.Cleanup(func() {
		c.Process.Signal(os.Interrupt) //nolint:errcheck // it may have ended
		c.Wait()                       //nolint:errcheck // it was told to
	})
	for range 300 {
		if conn, err := net.Dial("tcp", r.addr); err == nil {
			conn.Close()
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	r.t.Fatal("the server does not listen")
}

// enrolment returns a token for the device's user, as the guide has had one
// made. Devices are called after their users.
func (r *reader) enrolment() string {
	r.t.Helper()
	user := r.device
	for _, last := range []string{"-bag", "-laptop"} {
		user = strings.TrimSuffix(user, last)
	}
	return field(r.t, r.satchel("satchel admin token add "+user+" --json"), "secret")
}

func field(t *testing.T, text []byte, name string) string {
	t.Helper()
	var facts map[string]any
	if err := json.Unmarshal(text, &facts); err != nil || facts[name] == nil {
		t.Fatalf("no %s in %q: %v", name, text, err)
	}
	return fmt.Sprint(facts[name])
}

// after returns the word after a flag.
func after(line, flag string) string {
	_, rest, _ := strings.Cut(line, flag)
	return strings.Fields(rest + " device")[0]
}
