package workspace

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"satchel/store"
)

func TestSessionRecord(t *testing.T) {
	s := created(t, "ana")
	if _, err := s.LoadSession("ana"); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("before: %v", err)
	}
	must(t, s.ClearSession("ana"))
	want := session()
	must(t, s.SaveSession("ana", want))
	got, err := s.LoadSession("ana")
	must(t, err)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	want.State = Capturing
	must(t, s.SaveSession("ana", want))
	if got, err = s.LoadSession("ana"); err != nil || got.State != Capturing {
		t.Errorf("replaced: %v, %v", got.State, err)
	}
	must(t, s.ClearSession("ana"))
	if _, err := s.LoadSession("ana"); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("after: %v", err)
	}
	if err := s.SaveSession("ana", Session{State: "dreaming"}); err == nil {
		t.Error("an unknown state was saved")
	}
}

func TestAlive(t *testing.T) {
	self, err := Self()
	must(t, err)
	later, before := self, self
	later.Start++
	before.Boot = "an earlier boot"
	tests := []struct {
		name string
		p    Process
		want bool
	}{
		{"self", self, true},
		{"number used again", later, false},
		{"earlier boot", before, false},
		{"none", Process{}, false},
	}
	for _, tt := range tests {
		if got := (&Session{Process: tt.p}).Alive(); got != tt.want {
			t.Errorf("%s: alive %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestAliveUntilKilled(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	must(t, cmd.Start())
	p, err := ProcessOf(cmd.Process.Pid)
	must(t, err)
	if !p.Alive() {
		t.Error("not alive while it runs")
	}
	must(t, cmd.Process.Kill())
	_ = cmd.Wait() // it was killed, which is what it says
	if p.Alive() {
		t.Error("alive after it was killed")
	}
}

func TestParseStat(t *testing.T) {
	rest := " S" + strings.Repeat(" 0", 18) + " 98765 1 2\n"
	tests := []struct {
		name    string
		stat    string
		start   uint64
		running bool
		ok      bool
	}{
		{"plain", "1 (init)" + rest, 98765, true, true},
		{"hostile name", "1 (a) Z 1) 2 (" + ")" + rest, 98765, true, true},
		{"zombie", "1 (init)" + strings.Replace(rest, "S", "Z", 1), 98765, false, true},
		{"short", "1 (init) S 1 2", 0, false, false},
		{"empty", "", 0, false, false},
		{"no number", "1 (init)" + strings.Replace(rest, "98765", "soon", 1), 0, false, false},
	}
	for _, tt := range tests {
		start, running, err := parseStat([]byte(tt.stat))
		if start != tt.start || running != tt.running || (err == nil) != tt.ok {
			t.Errorf("%s: %d, %v, %v", tt.name, start, running, err)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	b, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if start, running, err := parseStat(b); err != nil && (start != 0 || running) {
			t.Errorf("%d, %v with error %v", start, running, err)
		}
	})
}

func TestLock(t *testing.T) {
	s := created(t, "ana", "bob")
	unlock, err := s.Lock("ana")
	must(t, err)
	_, err = s.Lock("ana")
	if !errors.Is(err, store.ErrBusy) || !strings.Contains(err.Error(), strconv.Itoa(os.Getpid())) {
		t.Errorf("second lock: %v, want %v and our number", err, store.ErrBusy)
	}
	other, err := s.Lock("bob")
	must(t, err)
	must(t, other())
	must(t, unlock())
	unlock, err = s.Lock("ana")
	must(t, err)
	must(t, unlock())
	if _, err := s.Lock("eve"); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("absent: %v", err)
	}
}

// TestLockEndsWithProcess runs this test binary again to hold a lock.
func TestLockEndsWithProcess(t *testing.T) {
	const home = "SATCHEL_TEST_LOCK_HOME"
	if dir := os.Getenv(home); dir != "" {
		unlock, err := Open(dir).Lock("ana")
		must(t, err)
		defer unlock() //nolint:errcheck // never; what is not needed any more loses its file, and the lock
		fmt.Println("locked")
		select {}
	}
	dir := t.TempDir()
	s := Open(dir)
	must(t, s.Create(definition("ana")))
	cmd := exec.Command(os.Args[0], "-test.run=^TestLockEndsWithProcess$")
	cmd.Env = append(os.Environ(), home+"="+dir)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	line, _ := bufio.NewReader(out).ReadString('\n')
	if line != "locked\n" {
		t.Errorf("the other process says %q", line)
	}
	_, err = s.Lock("ana")
	if !errors.Is(err, store.ErrBusy) || !strings.Contains(err.Error(), strconv.Itoa(cmd.Process.Pid)) {
		t.Errorf("locked elsewhere: %v", err)
	}
	must(t, cmd.Process.Kill())
	_ = cmd.Wait() // it was killed, which is what it says
	unlock, err := s.Lock("ana")
	must(t, err)
	must(t, unlock())
}
