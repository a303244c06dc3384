package session

import (
	"errors"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"satchel/layers"
	"satchel/layers/ingest"
	"satchel/layers/repo"
	"satchel/layers/workspace"
	"satchel/store"
	"satchel/vmm/agent"
	"satchel/vmm/nbd"
)

// derive makes a version of the guest's os layer from its tree as it first was,
// with some executables put in the place of what was there; empty ones are left
// out.
func (b *bench) derive(message string, files map[string]string) store.ID {
	b.t.Helper()
	ctx := b.t.Context()
	head, err := b.Store.Heads().Lookup(ctx, "debian")
	must(b.t, err)
	first := store.ID{}
	for entry, err := range b.Repo.Log(ctx, head) {
		must(b.t, err)
		first = entry.ID
	}
	side, err := b.Repo.Side(ctx, first)
	must(b.t, err)
	w, err := b.Store.Begin(ctx, "derive")
	must(b.t, err)
	defer w.Close()
	pl := ingest.New(ctx, w, b.Store.Domain())
	tree := slices.DeleteFunc(slices.Clone(side.Tree), func(e layers.Entry) bool { _, other := files[e.Path]; return other })
	made := make([]layers.Entry, 0, len(files))
	for path, content := range files {
		if content == "" {
			continue
		}
		made = append(made, layers.Entry{Path: path, Type: layers.Regular, Mode: 0o755, Size: int64(len(content))})
		must(b.t, pl.AddStream(&made[len(made)-1], strings.NewReader(content)))
	}
	must(b.t, pl.Wait())
	tree = append(tree, made...)
	tree.Sort()
	ids, err := b.Repo.Commit(ctx, w, repo.Commit{Head: head, Kind: layers.OS, Tree: tree, Message: message})
	must(b.t, err)
	return ids[0]
}

// runs checks of which version of the os a session is composed.
func (b *bench) runs(s *Session, want store.ID, onTrial bool) {
	b.t.Helper()
	if got := s.stack.versions[0].Version; got != want || (s.trial != nil) != onTrial {
		b.t.Errorf("the guest has os %s, on trial: %v; want %s, %v", got.Short(), s.trial != nil, want.Short(), onTrial)
	}
}

// up starts ana and waits for the verdict, if her versions are on trial.
func (b *bench) up(want store.ID, onTrial bool) (*Session, error) {
	b.t.Helper()
	s, _ := b.start()
	b.runs(s, want, onTrial)
	status, err := s.Up(b.t.Context())
	if err == nil && (!status.Ready || status.Trial) {
		b.t.Errorf("up, but %+v", status)
	}
	return s, err
}

// fails starts ana with versions that fail, and returns why.
func (b *bench) fails(want store.ID) string {
	b.t.Helper()
	s, err := b.up(want, true)
	var failed *FailedTrial
	if !errors.As(err, &failed) {
		b.t.Fatalf("the trial ended with %v", err)
	}
	end, err := s.Wait(b.t.Context())
	must(b.t, err)
	if end.Failed == nil || end.Failed.Reason != failed.Reason {
		b.t.Errorf("the end of the session tells of %+v", end.Failed)
	}
	return failed.Reason
}

func (b *bench) health() workspace.Health {
	b.t.Helper()
	rec, err := b.Workspaces.LoadHealth("ana")
	must(b.t, err)
	return rec
}

// brokenInit writes to the user's files and to the system's settings, and ends.
const brokenInit = `#!/bin/sh
mkdir -p /home/ana
echo during >/home/ana/during
echo spoilt >/etc/during.conf
sync
exit 1
`

// TestUpgradeWithAWayBack upgrades a guest to an os that does not start, to one
// whose own check says that it is not well, and to a good one.
func TestUpgradeWithAWayBack(t *testing.T) {
	b := newBench(t)
	good := b.version("debian")
	s, err := b.up(good, true) // the first start
	must(t, err)
	b.guest(s, "mkdir -p /home/ana; echo before >/home/ana/before; echo before >/etc/before.conf; sync")
	b.stop(s, false)
	if rec := b.health(); len(rec.Good) != 1 || rec.Good[0].Version != good || rec.Trial != nil {
		t.Fatalf("after the first start: %+v", rec)
	}
	system := b.version("s")

	broken := b.derive("broken", map[string]string{"usr/sbin/init": brokenInit})
	if reason := b.fails(broken); !strings.HasPrefix(reason, "Kernel panic") {
		t.Errorf("a broken init: %s", reason)
	}
	b.holds("d", "home/ana/before", "home/ana/during")
	b.holds("s", "etc/before.conf")
	if b.has("s", "etc/during.conf") || b.version("s") == system {
		t.Error("what the failed trial wrote is not taken back by a new version")
	}
	if rec := b.health(); len(rec.Failed) != 1 || rec.Failed[0].Version != broken || rec.Good[0].Version != good {
		t.Errorf("after the failed trial: %+v", rec)
	}
	_, err = b.Store.GC(t.Context(), b.Repo.Walker(), b.Workspaces.Kept)
	must(t, err)

	b.derive("without an init", map[string]string{"usr/sbin/init": "", "usr/lib/systemd/systemd": ""})
	b.fallsBack("test -e /home/ana/before; test -e /home/ana/during; test -e /etc/before.conf; test ! -e /etc/during.conf")

	unwell := b.derive("unwell", map[string]string{healthCheck: "#!/bin/sh\necho the printers are gone\nexit 3\n"})
	if reason := b.fails(unwell); !strings.Contains(reason, "the printers are gone") || !strings.Contains(reason, "exit status 3") {
		t.Errorf("the check failed: %s", reason)
	}
	better := b.derive("better", map[string]string{healthCheck: "#!/bin/sh\nexit 0\n"})
	b.killInTrial(better)
	s, err = b.up(better, true)
	must(t, err)
	b.stop(s, true)
	if rec := b.health(); rec.Good[0].Version != better || rec.Trial != nil || len(rec.Failed) != 3 {
		t.Errorf("after the upgrade: %+v", rec)
	}
	b.clean()
}

// program builds the satchel command.
func (b *bench) program() string {
	b.t.Helper()
	exe := filepath.Join(b.t.TempDir(), "satchel")
	if out, err := exec.Command("go", "build", "-o", exe, "satchel/cmd/satchel").CombinedOutput(); err != nil {
		b.t.Fatalf("build satchel: %v\n%s", err, out)
	}
	return exe
}

// fallsBack has the command run ana. It meets versions that fail, goes back by
// itself, and the script ends well in the guest.
func (b *bench) fallsBack(script string) {
	b.t.Helper()
	out, err := exec.Command(b.program(), "--home", b.Home, "run", "ana", "--detach", "--memory", "512M").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "starting ana with the versions before") {
		b.t.Fatalf("run: %v\n%s", err, out)
	}
	client, err := Dial(b.t.Context(), b.Home, "ana")
	must(b.t, err)
	conn, err := client.Agent(b.t.Context())
	must(b.t, err)
	guest := agent.NewClient(conn)
	defer guest.Close()
	if code, err := guest.Exec(b.t.Context(), agent.ExecRequest{Argv: []string{"sh", "-ec", script}}); code != 0 || err != nil {
		b.t.Errorf("%s: exit status %d, %v", script, code, err)
	}
	_, err = client.Stop(b.t.Context(), false)
	must(b.t, err)
}

// killInTrial kills the supervisor of a trial: that is no verdict.
func (b *bench) killInTrial(want store.ID) {
	b.t.Helper()
	cmd := exec.Command(b.program(), "--home", b.Home, "run", "ana", "--memory", "512M")
	must(b.t, cmd.Start())
	defer cmd.Process.Kill() //nolint:errcheck // it is dead by then, or is to be
	b.dialAgent(cmd).Close()
	must(b.t, cmd.Process.Kill())
	cmd.Wait() //nolint:errcheck // it was killed
	rec := b.health()
	if rec.Trial == nil || rec.Trial.Versions[0].Version != want || rec.Trial.Starts != 1 || rec.Trial.Reason != "" {
		b.t.Errorf("killed in a trial: %+v", rec.Trial)
	}
}

// TestTrialStandsStill has the time of a trial stand still while a disk waits.
func TestTrialStandsStill(t *testing.T) {
	const within = 40 * time.Millisecond
	var waits atomic.Bool
	waits.Store(true)
	h := newHouse(t)
	h.Waiting = waits.Load
	s := h.newSession("ana", nil)
	s.image = nbd.NewServer("", zeroLower(4096), nbd.Options{})
	ctx, cancel := patience(t.Context(), within, s.waits)
	defer cancel()
	time.Sleep(10 * within)
	if ctx.Err() != nil {
		t.Error("time passes while the disk waits")
	}
	waits.Store(false)
	<-ctx.Done()
}

// TestTrialInTime gives a guest too little time, and has another one stopped,
// which is no verdict.
func TestTrialInTime(t *testing.T) {
	b := newBench(t)
	good := b.version("debian")
	s, _ := b.start()
	b.stop(s, true)
	if rec := b.health(); rec.Trial.Starts > 0 || len(rec.Failed) > 0 {
		t.Errorf("stopped on trial: %+v", rec)
	}
	must(t, b.Workspaces.UpdateHealth("ana", func(rec *workspace.Health) error { rec.Good = []workspace.Pin{s.stack.versions[0]}; return nil }))
	must(t, b.Workspaces.Update("ana", func(d *workspace.Definition) error { d.Options.Health.Within = 1; return nil }))
	late := b.derive("late", map[string]string{"usr/sbin/init": "#!/bin/sh\nsleep 1000\n"})
	if reason := b.fails(late); !strings.Contains(reason, "longer than 1s") {
		t.Errorf("too late: %s", reason)
	}
	must(t, b.Workspaces.Update("ana", func(d *workspace.Definition) error {
		d.Options.Health = workspace.Mark{Runs: 1}
		return nil
	}))
	s, _ = b.start()
	b.runs(s, good, false)
	b.stop(s, true)
	must(t, b.Workspaces.UpdateHealth("ana", func(rec *workspace.Health) error { rec.Failed = nil; return nil }))
	s, _ = b.start()
	b.runs(s, late, true)
	if _, err := s.Up(t.Context()); err != nil {
		t.Errorf("a guest without an agent: %v", err)
	}
	b.stop(s, true)
	if rec := b.health(); rec.Good[0].Version != late || time.Since(rec.Since) > guestTimeout {
		t.Errorf("it ran long enough, and is not good: %+v", rec)
	}
}
