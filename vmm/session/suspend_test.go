package session

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"satchel/layers"
	"satchel/layers/repo"
	"satchel/layers/workspace"
	"satchel/store"
	"satchel/store/disk"
	"satchel/vmm/agent"
	"satchel/vmm/memory"
)

// counts is a script that leaves a program behind that counts: what it has
// reached lies in /run, which is in memory.
const counts = `setsid sh -c 'i=0; while :; do i=$((i + 1)); echo $i > /run/count.new; mv /run/count.new /run/count; sleep 0.1; done' </dev/null >/dev/null 2>&1 &
until test -s /run/count; do sleep 0.1; done`

// count is how far the guest's program is.
func (b *bench) count(s *Session) int {
	b.t.Helper()
	n, err := strconv.Atoi(b.guest(s, "cat /run/count"))
	if err != nil {
		b.t.Fatal(err)
	}
	return n
}

// goesOn checks that the guest's program counts on from where it was.
func (b *bench) goesOn(s *Session, from int) {
	b.t.Helper()
	at := b.count(s)
	if at < from {
		b.t.Errorf("the program had counted to %d, and is at %d", from, at)
	}
	b.guest(s, fmt.Sprintf("until test $(cat /run/count) -gt %d; do sleep 0.1; done", at))
}

func (b *bench) suspend(s *Session) Suspended {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), guestTimeout)
	defer cancel()
	got, err := s.Suspend(ctx)
	if err != nil {
		b.t.Fatal(err)
	}
	end, err := s.Wait(ctx)
	if err != nil || end.How != string(workspace.Suspended) {
		b.t.Fatalf("the session ended by %q, %v", end.How, err)
	}
	b.t.Logf("%s is suspended after %.2f s: stopped after %.2f s, %d MB of memory in %.2f s", s.name, got.Seconds, got.StopSeconds, got.MemoryBytes>>20, got.MemorySeconds)
	return got
}

// run starts a workspace and waits until its guest is up.
func (b *bench) run(name string, resumed bool) *Session {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), guestTimeout)
	defer cancel()
	s, _, err := b.Start(ctx, name, Options{Memory: 512 << 20})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { s.Stop(context.Background(), true) })
	status, err := s.Up(ctx)
	if err != nil {
		b.t.Fatalf("%v\n%s", err, s.lastWords())
	}
	if status.Boot.Resumed != resumed {
		b.t.Errorf("%s was resumed: %v, want %v", name, status.Boot.Resumed, resumed)
	}
	b.t.Logf("%s is up: the agent answered after %.2f s, all after %.2f s", name, status.Boot.AgentSeconds, status.Boot.ReadySeconds)
	return s
}

// another adds a workspace on the same os layer.
func (b *bench) another(name string) {
	b.t.Helper()
	def := workspace.Definition{Name: name, OS: b.layer("debian"),
		Personal: b.layer(name + "p"), System: b.layer(name + "s"), Local: b.layer(name + "l"), Data: b.layer(name + "d")}
	if err := b.Workspaces.Create(def); err != nil {
		b.t.Fatal(err)
	}
}

// TestSwitch goes to and fro between two guests. Their programs, files and
// clocks go on, and neither has a page of the other's.
func TestSwitch(t *testing.T) {
	b := newBench(t)
	b.another("ben")
	secret := make([]byte, 16)
	rand.Read(secret)
	mark := fmt.Sprintf("%x", secret)

	s := b.run("ana", false)
	b.guest(s, counts+"; mkdir -p /home/ana; echo first > /home/ana/file; for i in $(seq 1000); do echo "+mark+"; done > /run/secret")
	flooded := b.flood(s)
	n := b.count(s)
	b.failedSuspension(s, n)
	got := b.suspend(s)
	if err := <-flooded; err == nil {
		t.Error("a command that was connected says that all is well")
	}
	if len(got.Captured.Layers) == 0 || !b.has("d", "home/ana/file") {
		t.Errorf("what was captured before: %v", got.Captured.Summary())
	}
	b.suspendedIsLeftAlone("ana")

	s = b.run("ben", false)
	b.guest(s, counts+"; mkdir -p /home/ben; echo bens > /home/ben/file")
	m := b.count(s)
	b.suspend(s)
	b.wantMark("ana", mark, true) // so the search finds what is there
	b.wantMark("ben", mark, false)
	if _, err := b.Store.GC(t.Context(), b.Repo.Walker(), b.Workspaces.Kept, b.Workspaces.Roots); err != nil {
		t.Error(err)
	}

	before := time.Now()
	s = b.run("ana", true)
	b.goesOn(s, n)
	if now := b.guest(s, "date +%s"); now < fmt.Sprint(before.Unix()) {
		t.Errorf("the guest's clock says %s, but it went on at %d", now, before.Unix())
	}
	b.guest(s, "while pgrep -x dd; do sleep 0.1; done") // the agent has hung the command up
	if got := b.guest(s, "cat /home/ana/file; wc -l < /run/secret"); got != "first\n1000" {
		t.Errorf("the guest has %q", got)
	}
	b.guest(s, "echo second > /home/ana/file2")
	b.suspend(s)

	put, err := b.Put(t.Context(), "ben")
	must(t, err)
	t.Logf("ben is stored: %+v", put)
	s = b.run("ben", true)
	b.goesOn(s, m)
	if got := b.guest(s, "cat /home/ben/file; ls /home"); !strings.HasPrefix(got, "bens") || strings.Contains(got, "ana") {
		t.Errorf("the guest has %q", got)
	}
	b.stop(s, false)
	b.holds("bend", "home/ben/file")
	b.holds("d", "home/ana/file", "home/ana/file2")

	b.killedSuspensions()
	b.movedHead()
	b.clean()
}

// failedSuspension has a suspension fail in its midst. The guest goes on, its
// disk too, and nothing is left of it.
func (b *bench) failedSuspension(s *Session, from int) {
	b.t.Helper()
	b.step = func(name string) {
		if name == "devices" { // then the memory finds its place taken
			must(b.t, os.WriteFile(b.Workspaces.MemoryFile(s.name), nil, 0o600))
		}
	}
	defer func() { b.step = nil }()
	if _, err := s.Suspend(b.t.Context()); !errors.Is(err, os.ErrExist) {
		b.t.Errorf("suspend: %v, want %v", err, os.ErrExist)
	}
	b.goesOn(s, from)
	b.guest(s, "echo on > /home/ana/on; sync")
	if _, err := os.Stat(b.Workspaces.DevicesFile(s.name)); !errors.Is(err, os.ErrNotExist) {
		b.t.Errorf("the state of its devices is still there: %v", err)
	}
	if rec, err := b.Workspaces.LoadSession(s.name); err != nil || rec.State != workspace.Running {
		b.t.Errorf("the record says %s, %v", rec.State, err)
	}
}

// flood has a command write to a reader that never reads, so that frames are
// under way when the guest is suspended.
func (b *bench) flood(s *Session) <-chan error {
	r, w := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		_, err := s.Agent().Exec(context.Background(), agent.ExecRequest{Argv: []string{"dd", "if=/dev/zero", "bs=1000"}, Stdout: w})
		ended <- err
	}()
	if _, err := io.ReadFull(r, make([]byte, 1000)); err != nil {
		b.t.Error(err)
	}
	b.t.Cleanup(func() { r.Close() })
	go func() { // when the guest has filled all there is to fill
		<-s.machine.Exited()
		r.Close()
	}()
	return ended
}

// suspendedIsLeftAlone checks that nothing but a start touches a suspended
// guest, and that its files are its owner's alone.
func (b *bench) suspendedIsLeftAlone(name string) {
	b.t.Helper()
	if _, err := b.Settle(b.t.Context(), name, nil); !errors.Is(err, workspace.ErrSuspended) {
		b.t.Errorf("settle: %v, want %v", err, workspace.ErrSuspended)
	}
	if _, err := b.Reset(b.t.Context(), name, nil); !errors.Is(err, workspace.ErrSuspended) {
		b.t.Errorf("reset: %v, want %v", err, workspace.ErrSuspended)
	}
	for _, file := range []string{b.Workspaces.MemoryFile(name), b.Workspaces.DevicesFile(name)} {
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			b.t.Errorf("%s: %v, %v", file, info, err)
		}
	}
}

// wantMark checks whether a text is anywhere in a suspended guest's memory.
func (b *bench) wantMark(name, mark string, want bool) {
	b.t.Helper()
	content, err := os.ReadFile(b.Workspaces.MemoryFile(name))
	if err != nil {
		b.t.Fatal(err)
	}
	if got := bytes.Contains(content, []byte(mark)); got != want {
		b.t.Errorf("the memory of %s holds the text: %v, want %v", name, got, want)
	}
}

// killEnv names the step of a suspension at which a supervisor is to die, and
// the home.
const killEnv = "SATCHEL_TEST_KILL_AT"

// TestKilledSupervisor is the process that killedSuspensions kills.
func TestKilledSupervisor(t *testing.T) {
	step, home, ok := strings.Cut(os.Getenv(killEnv), " ")
	if !ok {
		t.Skip("runs as a process of TestSwitch")
	}
	st, err := disk.Open(filepath.Join(home, "store"))
	must(t, err)
	h := &Host{Home: home, Store: st, Repo: repo.New(st, "test"), Workspaces: workspace.Open(home), Note: t.Logf}
	h.step = func(name string) {
		if name == step {
			syscall.Kill(os.Getpid(), syscall.SIGKILL) //nolint:errcheck // nothing comes after it
			select {}
		}
	}
	b := &bench{Host: h, t: t}
	s := b.run("ana", true)
	b.guest(s, "echo "+step+" > /home/ana/"+step)
	s.Suspend(t.Context()) //nolint:errcheck // it does not come back
	t.Fatal("there is no step", step)
}

// killedSuspensions kills the supervisor at each step of a suspension. What it
// leaves is a suspended session or one that has crashed, and no file is lost.
func (b *bench) killedSuspensions() {
	t := b.t
	before := b.keep()
	for _, step := range []string{"stopped", "devices", "memory", "recorded"} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilledSupervisor$", "-test.v")
		cmd.Env = append(os.Environ(), killEnv+"="+step+" "+b.Home)
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil || cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("%s: %v\n%s", step, err, out)
		}
		rec, err := b.Workspaces.LoadSession("ana")
		if err != nil || (rec.State == workspace.Suspended) != (step == "recorded") {
			t.Fatalf("killed at %s: state %s, %v", step, rec.State, err)
		}
		if rec.State != workspace.Suspended {
			if _, err := b.Settle(t.Context(), "ana", nil); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(b.Workspaces.MemoryFile("ana")); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("killed at %s, its memory is still there: %v", step, err)
			}
		}
		b.holds("d", "home/ana/"+step)
		b.verify()
		if step != "recorded" {
			b.again(before)
		}
	}
	s := b.run("ana", true)
	if got := b.guest(s, "cat /home/ana/recorded"); got != "recorded" {
		t.Errorf("after a kill at the last step the guest has %q", got)
	}
	b.suspend(s)
}

// keep copies a suspended workspace, for again.
func (b *bench) keep() string {
	b.t.Helper()
	dir := filepath.Join(b.t.TempDir(), "ana")
	if out, err := exec.Command("cp", "-a", "--sparse=always", b.Workspaces.Dir("ana"), dir).CombinedOutput(); err != nil {
		b.t.Fatalf("%v\n%s", err, out)
	}
	return dir
}

// again puts it back, as if the heads of today were what it had captured.
func (b *bench) again(kept string) {
	b.t.Helper()
	must(b.t, os.RemoveAll(b.Workspaces.Dir("ana")))
	if out, err := exec.Command("cp", "-a", "--sparse=always", kept, b.Workspaces.Dir("ana")).CombinedOutput(); err != nil {
		b.t.Fatalf("%v\n%s", err, out)
	}
	rec, err := b.Workspaces.LoadSession("ana")
	must(b.t, err)
	def, err := b.Workspaces.Load("ana")
	must(b.t, err)
	heads, err := b.current(b.t.Context(), def)
	must(b.t, err)
	rec.Captured = slices.Concat(rec.Captured, heads)
	must(b.t, b.Workspaces.SaveSession("ana", rec))
}

// movedHead moves the head of a layer of the suspended ana. She starts anew,
// with her own files and what came from elsewhere.
func (b *bench) movedHead() {
	t := b.t
	tree, err := b.Repo.Tree(t.Context(), "d")
	must(t, err)
	w, err := b.Store.Begin(t.Context(), "test")
	must(t, err)
	defer w.Close()
	head, err := b.Store.Heads().Lookup(t.Context(), "d")
	must(t, err)
	e := *tree.Find("home/ana/file")
	e.Path = "home/ana/from-elsewhere"
	i, _ := slices.BinarySearchFunc(tree, e.Path, func(a layers.Entry, path string) int { return strings.Compare(a.Path, path) })
	_, err = b.Repo.Commit(t.Context(), w, repo.Commit{Head: head, Kind: layers.Data, Tree: slices.Insert(slices.Clone(tree), i, e), Message: "moved"})
	must(t, err)
	var notes []string
	b.Note = func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	s, _ := b.start()
	b.Note = t.Logf
	if s.Status().Boot.Resumed {
		t.Error("a guest went on although its layer had moved")
	}
	if text := strings.Join(notes, "\n"); !strings.Contains(text, "layer d has moved") {
		t.Errorf("it was said:\n%s", text)
	}
	b.stop(s, true)
	b.holds("d", "home/ana/file", "home/ana/file2", "home/ana/recorded", "home/ana/from-elsewhere")
}

// A gate holds reads up while it is shut.
type gate struct {
	store.Getter
	open  atomic.Pointer[chan struct{}]
	holds chan struct{} // something is sent for each read that is held up
}

func (g *gate) Get(ctx context.Context, id store.ID) ([]byte, error) {
	if open := g.open.Load(); open != nil {
		select {
		case g.holds <- struct{}{}:
		default:
		}
		select {
		case <-*open:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return g.Getter.Get(ctx, id)
}

// shut shuts the gate, and returns what opens it.
func (g *gate) shut() (open func()) {
	select {
	case <-g.holds:
	default:
	}
	c := make(chan struct{})
	g.open.Store(&c)
	return func() {
		g.open.Store(nil)
		close(c)
	}
}

// TestSuspendWhileDiskWaits suspends a guest whose disk waits for what has not
// arrived: it cannot be, and goes on when it has arrived.
func TestSuspendWhileDiskWaits(t *testing.T) {
	b := newBench(t)
	g := &gate{Getter: b.Store, holds: make(chan struct{}, 1)}
	b.Contents = g
	s := b.run("ana", false)
	b.guest(s, counts)
	n := b.count(s)
	for _, tt := range []struct {
		age  time.Duration // of what the disk waits for
		dirs string        // that have not been read yet
	}{
		{slow + time.Second, "/usr/share/perl /usr/share/perl5"},
		{0, "/usr/lib/x86_64-linux-gnu/perl-base"}, // QEMU is told to stop before it is known that it cannot
	} {
		open := g.shut()
		read := make(chan error, 1)
		go func() {
			out, err := b.try(s, "find "+tt.dirs+" -type f -exec cat {} + > /dev/null", nil)
			if err != nil {
				err = fmt.Errorf("%w: %s", err, out)
			}
			read <- err
		}()
		select {
		case <-g.holds:
		case err := <-read:
			t.Fatalf("the guest reads what cannot be read: %v", err)
		}
		for s.image.Waits() < tt.age {
			time.Sleep(10 * time.Millisecond)
		}
		if tt.age > slow && !s.stuck() {
			t.Error("the session does not know that it waits")
		}
		if _, err := s.Suspend(t.Context()); !errors.Is(err, ErrDiskWaits) {
			t.Errorf("suspend: %v, want %v", err, ErrDiskWaits)
		}
		open()
		must(t, <-read)
		b.goesOn(s, n)
	}
	b.suspend(s)
	s = b.run("ana", true)
	b.goesOn(s, n)
	b.stop(s, true)
}

// Without room on the home's disk a guest is not even stopped.
func TestNoRoom(t *testing.T) {
	dir := t.TempDir()
	smallDisk(t, dir, 96)
	h := newHouseAt(t, filepath.Join(dir, "home"))
	s := h.newSession("ana", func() error { return nil })
	var err error
	s.memory, err = memory.New(64 << 20)
	must(t, err)
	defer s.memory.Close()
	must(t, s.room())
	_, err = s.memory.WriteAt(bytes.Repeat([]byte{1}, 40<<20), 0)
	must(t, err)
	if err := s.room(); !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "goes on") {
		t.Errorf("room for 40 MB: %v, want %v", err, unix.ENOSPC)
	}
}
