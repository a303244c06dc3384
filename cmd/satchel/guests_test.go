package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// guestsAndInit returns the directory with real guests that $SATCHEL_TEST_GUESTS
// names, and a satchel-guest for them.
func guestsAndInit(t testing.TB) (guests, guest string) {
	t.Helper()
	guests = os.Getenv("SATCHEL_TEST_GUESTS")
	if guests == "" {
		t.Skip("SATCHEL_TEST_GUESTS names no directory with guests: run make test")
	}
	guest = filepath.Join(t.TempDir(), "satchel-guest")
	build := exec.Command("go", "build", "-o", guest, "satchel/cmd/satchel-guest")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build satchel-guest: %v\n%s", err, out)
	}
	return guests, guest
}

// TestGuests runs scripts in which real Debian guests boot. $SATCHEL_TEST_GUESTS
// names a directory with them; make test makes it.
func TestGuests(t *testing.T) {
	guests, guest := guestsAndInit(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/guests",
		Setup: func(e *testscript.Env) error {
			e.Setenv("GUESTS", guests)
			e.Setenv("SATCHEL_GUEST", guest)
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return err
			}
			e.Setenv("ADDR", l.Addr().String()) // for a server
			return l.Close()
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"await": await, "fact": fact, "overwrite": overwrite},
	})
}

// overwrite copies a tar file and has a file in it say something else, as
// root's and executable: overwrite TAR TO PATH CONTENT.
func overwrite(ts *testscript.TestScript, _ bool, args []string) {
	from, to, path := args[0], ts.MkAbs(args[1]), args[2]
	ts.Check(ts.Exec("cp", "--reflink=auto", from, to))
	dir := ts.MkAbs("overwrite.d")
	file := filepath.Join(dir, path)
	ts.Check(os.MkdirAll(filepath.Dir(file), 0o755))
	ts.Check(os.WriteFile(file, []byte(strings.Join(args[3:], " ")+"\n"), 0o755))
	ts.Check(ts.Exec("tar", "--append", "--owner=0", "--group=0", "-f", to, "-C", dir, "./"+path))
	ts.Check(os.RemoveAll(dir))
}
