package session

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"satchel/layers/treefs"
	"satchel/store"
	"satchel/vmm/agent"
	"satchel/vmm/qemu"
)

// writes is a script that changes files for ever, each time syncs, and only
// then prints "+ PATH HASH" or "- PATH". It is called with the round.
const writes = `mkdir -p /home/ana; i=0
while i=$((i + 1)); do
	f=/home/ana/$1-$i g=/etc/$1-$i.conf
	head -c $((i * 7919 % 200000)) /dev/urandom > $f; echo $i > $g; mv $f $f.bin
	sync; for x in $f.bin $g; do set -- $1 $(sha256sum < $x); echo "+ $x $2"; done
	if [ $((i % 3)) = 0 ]; then rm $f.bin; sync; echo "- $f.bin"; fi
done`

// A ledger is what a guest said it had synced.
type ledger struct {
	mu     sync.Mutex
	files  map[string]string // by path: the hash; "": removed
	first  chan struct{}     // closed with the first line
	opened sync.Once
}

func newLedger() *ledger { return &ledger{files: map[string]string{}, first: make(chan struct{})} }

// read takes the script's lines in until the guest is gone.
func (l *ledger) read(r io.Reader) {
	br := bufio.NewReader(r)
	for {
		line, err := br.ReadString('\n')
		if err != nil {
			return // a line without its end may be about what was not synced
		}
		f := append(strings.Fields(line), "")
		l.mu.Lock()
		l.files[strings.TrimPrefix(f[1], "/")] = f[2]
		l.mu.Unlock()
		l.opened.Do(func() { close(l.first) })
	}
}

// follow runs the script in the guest until that ends.
func (l *ledger) follow(g *agent.Client, round int) (wait func()) {
	r, w := io.Pipe()
	var wg sync.WaitGroup
	wg.Go(func() { l.read(r) })
	wg.Go(func() {
		_, err := g.Exec(context.Background(), agent.ExecRequest{
			Argv: []string{"sh", "-c", writes, "sh", fmt.Sprint("round", round)}, Stdout: w,
		})
		w.CloseWithError(errors.Join(err, io.EOF))
	})
	return wg.Wait
}

// await waits for the first line and then for a random while.
func (l *ledger) await(t *testing.T) {
	t.Helper()
	select {
	case <-l.first:
		time.Sleep(rand.N(2 * time.Second)) // the moment of the crash
	case <-time.After(guestTimeout):
		t.Fatal("the guest has written nothing")
	}
}

// check compares the layers with all that was synced. They may hold more.
func (b *bench) check(l *ledger) {
	b.t.Helper()
	trees := map[string]*treefs.FS{}
	for _, layer := range []string{"d", "s"} {
		tree, err := b.Repo.Tree(b.t.Context(), layer)
		if err != nil {
			b.t.Fatal(err)
		}
		trees[layer] = treefs.New(b.t.Context(), tree, b.Store)
	}
	for path, hash := range l.files {
		layer := "d"
		if strings.HasPrefix(path, "etc/") {
			layer = "s"
		}
		content, err := trees[layer].ReadFile(path)
		switch {
		case hash == "" && err == nil:
			b.t.Errorf("%s was removed, and is in layer %s", path, layer)
		case hash != "" && err != nil:
			b.t.Errorf("%s was synced, but layer %s: %v", path, layer, err)
		case hash != "" && fmt.Sprintf("%x", sha256.Sum256(content)) != hash:
			b.t.Errorf("%s in layer %s is not what was synced", path, layer)
		}
	}
	b.t.Logf("%d synced files are as they were", len(l.files))
}

// TestCrash cuts the guest off five times in the midst of its writes, twice
// while its changes are being captured. All it had synced is in its layers.
func TestCrash(t *testing.T) {
	b := newBench(t)
	b.interrupt()
	l := newLedger()
	for round := range 5 {
		s, before := b.start()
		if before != nil {
			t.Errorf("before round %d there was something to capture: %v", round, before.Summary())
		}
		l.first, l.opened = make(chan struct{}), sync.Once{}
		wait := l.follow(s.Agent(), round)
		l.await(t)
		live := make(chan error, 1)
		if round%2 == 1 {
			go func() { _, err := s.Capture(context.Background()); live <- err }()
			time.Sleep(rand.N(time.Second)) // somewhere in the capture
		}
		end := b.stop(s, true)
		wait()
		if round%2 == 1 {
			t.Logf("the capture that went on: %v", <-live)
		}
		t.Logf("round %d, ended by %s: %v", round, end.How, end.Captured.Summary())
		b.check(l)
		b.clean()
	}
	b.killSupervisor(l)
}

// interrupt gives starts up at many moments, and has one refused at the last.
// They leave nothing.
func (b *bench) interrupt() {
	b.t.Helper()
	before := runtime.NumGoroutine()
	for after := time.Millisecond; after < 2*time.Second; after *= 2 {
		ctx, cancel := context.WithTimeout(b.t.Context(), after)
		s, _, err := b.Start(ctx, "ana", Options{Memory: 512 << 20})
		switch {
		case err == nil:
			b.stop(s, true)
		case ctx.Err() == nil:
			b.t.Errorf("a start given up after %v: %v", after, err)
		}
		cancel()
		b.tidy()
	}
	if _, _, err := b.Start(b.t.Context(), "ana", Options{CPUs: 10_000}); !errors.Is(err, qemu.ErrConfig) {
		b.t.Errorf("a machine with 10000 processors: %v", err)
	}
	b.clean()
	if left, err := os.ReadDir(filepath.Dir(runtimeDir(b.Home, "ana"))); err != nil || len(left) > 0 {
		b.t.Errorf("the runtime directory holds %v, %v", left, err)
	}
	for deadline := time.Now().Add(guestTimeout); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
}

// killSupervisor kills the process that runs the session. QEMU dies with it,
// and the next start captures what the guest had synced.
func (b *bench) killSupervisor(l *ledger) {
	t := b.t
	exe := filepath.Join(t.TempDir(), "satchel")
	if out, err := exec.Command("go", "build", "-o", exe, "satchel/cmd/satchel").CombinedOutput(); err != nil {
		t.Fatalf("build satchel: %v\n%s", err, out)
	}
	cmd := exec.Command(exe, "--home", b.Home, "run", "ana", "--memory", "512M")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	g := b.dialAgent(cmd)
	defer g.Close()
	if _, err := g.Hello(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.Start(t.Context(), "ana", Options{}); !errors.Is(err, store.ErrBusy) {
		t.Errorf("a second run of the workspace: %v", err)
	}
	l.first, l.opened = make(chan struct{}), sync.Once{}
	wait := l.follow(g, 6)
	l.await(t)
	machine := childOf(t, cmd.Process.Pid)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	wait()
	cmd.Wait() //nolint:errcheck // it was killed
	for deadline := time.Now().Add(guestTimeout); syscall.Kill(machine, 0) == nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("QEMU has outlived its supervisor")
		}
	}
	s, before := b.start()
	if before == nil || len(before.Layers) == 0 {
		t.Error("the next start captured nothing")
	}
	b.check(l)
	b.stop(s, true) // while it boots
	b.clean()
}

// dialAgent connects to the guest of a satchel process.
func (b *bench) dialAgent(cmd *exec.Cmd) *agent.Client {
	b.t.Helper()
	for deadline := time.Now().Add(guestTimeout); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		client, err := Dial(b.t.Context(), b.Home, "ana")
		if err != nil {
			continue // not listening yet
		}
		conn, err := client.Agent(b.t.Context())
		if err != nil {
			b.t.Fatal(err)
		}
		return agent.NewClient(conn)
	}
	b.t.Fatalf("%v does not answer", cmd.Args)
	return nil
}

// childOf is the process that a process has started, on whichever thread.
func childOf(t *testing.T, pid int) int {
	t.Helper()
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, list := range lists {
		b, _ := os.ReadFile(list)
		if f := strings.Fields(string(b)); len(f) > 0 {
			child, err := strconv.Atoi(f[0])
			if err != nil {
				t.Fatal(err)
			}
			return child
		}
	}
	t.Fatalf("process %d has no child", pid)
	return 0
}

// clean checks the store, and that nothing is left of any session.
func (b *bench) clean() {
	b.t.Helper()
	b.verify()
	b.tidy()
}

func (b *bench) tidy() {
	b.t.Helper()
	left, err := os.ReadDir(b.Workspaces.Dir("ana"))
	if err != nil {
		b.t.Fatal(err)
	}
	for _, e := range left {
		switch e.Name() {
		case "workspace.json", "lock", "decisions.json", "health.json", "console.log", "qemu.log", "run.log":
		default:
			b.t.Errorf("the session has left %s", e.Name())
		}
	}
}
