package session

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"satchel/layers"
	"satchel/layers/ingest"
	"satchel/layers/manifest"
	"satchel/layers/repo"
	"satchel/layers/tarball"
	"satchel/layers/workspace"
	"satchel/store/disk"
	"satchel/vmm/agent"
)

// These tests boot real Debian guests, which $SATCHEL_TEST_GUESTS holds; `make
// test` builds them.

// guestTimeout bounds one boot or one stop, under emulation on a busy machine.
const guestTimeout = 5 * time.Minute

// bench is a home with the guest's os layer and a workspace called ana.
type bench struct {
	*Host
	t *testing.T
}

func newBench(t *testing.T) *bench {
	t.Helper()
	guests := os.Getenv("SATCHEL_TEST_GUESTS")
	if guests == "" {
		t.Skip("SATCHEL_TEST_GUESTS names no directory with guests: run make test")
	}
	binary := filepath.Join(t.TempDir(), "satchel-guest")
	build := exec.Command("go", "build", "-o", binary, "satchel/cmd/satchel-guest")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build satchel-guest: %v\n%s", err, out)
	}
	t.Setenv("SATCHEL_GUEST", binary)
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	home := t.TempDir()
	st, err := disk.Create(filepath.Join(home, "store"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	b := &bench{&Host{Home: home, Store: st, Repo: repo.New(st, "test"), Workspaces: workspace.Open(home), Note: t.Logf}, t}
	b.importTar("debian", filepath.Join(guests, "os-v1.tar"))
	def := workspace.Definition{Name: "ana", OS: b.layer("debian"), Personal: b.layer("p"), System: b.layer("s"), Local: b.layer("l"), Data: b.layer("d")}
	if err := b.Workspaces.Create(def); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) layer(name string) workspace.Layer {
	b.t.Helper()
	head, err := b.Store.Heads().Lookup(b.t.Context(), name)
	if err != nil {
		head, err = b.Repo.Create(b.t.Context(), name)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	return workspace.Layer{ID: head.Layer, Name: name}
}

func (b *bench) importTar(name, file string) {
	b.t.Helper()
	ctx := b.t.Context()
	f, err := os.Open(file)
	if err != nil {
		b.t.Fatal(err)
	}
	defer f.Close()
	w, err := b.Store.Begin(ctx, "import")
	if err != nil {
		b.t.Fatal(err)
	}
	defer w.Close()
	pl := ingest.New(ctx, w, b.Store.Domain())
	tree, _, err := tarball.Import(ctx, f, pl, tarball.Options{})
	if err = errors.Join(err, pl.Wait()); err != nil {
		b.t.Fatal(err)
	}
	b.layer(name)
	head, err := b.Store.Heads().Lookup(ctx, name)
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.Repo.Commit(ctx, w, repo.Commit{Head: head, Kind: layers.OS, Tree: tree}); err != nil {
		b.t.Fatal(err)
	}
}

// boot starts ana and waits until she is up.
func (b *bench) boot() *Session {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), guestTimeout)
	b.t.Cleanup(cancel)
	s, _, err := b.Start(ctx, "ana", Options{Memory: 768 << 20})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { s.Stop(context.Background(), true) })
	status, err := s.Ready(ctx)
	if err != nil {
		b.t.Fatalf("%v\n%s", err, s.lastWords())
	}
	b.t.Logf("boot: %+v", status.Boot)
	return s
}

// guest runs a shell script in the guest and returns what it prints.
func (b *bench) guest(s *Session, script string) string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), guestTimeout)
	defer cancel()
	var out, errs bytes.Buffer
	code, err := s.Agent().Exec(ctx, agent.ExecRequest{Argv: []string{"sh", "-ec", script}, Stdout: &out, Stderr: &errs})
	if err != nil || code != 0 {
		b.t.Fatalf("%s: exit status %d, %v\n%s%s", script, code, err, out.String(), errs.String())
	}
	return strings.TrimSpace(out.String())
}

func (b *bench) stop(s *Session, kill bool) End {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), guestTimeout)
	defer cancel()
	end, err := s.Stop(ctx, kill)
	if err != nil {
		b.t.Fatal(err)
	}
	return end
}

// holds checks that the head of a layer has a path.
func (b *bench) holds(layer, path string) {
	b.t.Helper()
	tree, err := b.Repo.Tree(b.t.Context(), layer)
	if err != nil {
		b.t.Fatal(err)
	}
	if tree.Find(path) == nil {
		b.t.Errorf("layer %s has no %s", layer, path)
	}
}

func (b *bench) verify() {
	b.t.Helper()
	result, err := b.Store.Verify(b.t.Context(), manifest.Walk(b.Store), nil)
	if err = errors.Join(err, result.Err()); err != nil {
		b.t.Error(err)
	}
}

// TestLoop is the main job: changes of a running guest, of one that stopped and
// of one that was cut off all come back sorted, and are there at the next start.
func TestLoop(t *testing.T) {
	b := newBench(t)
	s := b.boot()
	if got := b.guest(s, "cat /etc/debian_version"); !strings.HasPrefix(got, "12") {
		t.Errorf("the guest is Debian %q", got)
	}
	b.guest(s, `adduser --quiet --disabled-password --gecos Ana ana
		echo carried > /home/ana/live.txt
		echo greeting > /etc/motd
		mkdir -p /usr/local/bin && printf '#!/bin/sh\necho tool\n' > /usr/local/bin/tool && chmod 755 /usr/local/bin/tool`)

	live, err := s.Capture(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("live capture: %v", live.Summary())
	b.holds("d", "home/ana/live.txt")
	b.holds("s", "etc/motd")
	b.holds("p", "usr/local/bin/tool")
	b.holds("s", "etc/passwd")

	// After the power cut, all that the guest had synced is there.
	b.guest(s, "echo synced > /home/ana/synced.txt; rm /etc/motd; sync")
	b.stop(s, true)
	b.holds("d", "home/ana/synced.txt")
	b.verify()
	if rec, err := b.Workspaces.LoadSession("ana"); err == nil {
		t.Errorf("the session's record is still there: %+v", rec)
	}

	s = b.boot()
	if got := b.guest(s, "cat /home/ana/live.txt /home/ana/synced.txt; tool; id -un ana; ls /etc/motd 2>&1 | tail -c 26"); got != "carried\nsynced\ntool\nana\nNo such file or directory" {
		t.Errorf("after the power cut the guest has\n%s", got)
	}
	b.guest(s, "dpkg --audit; rm -r /home/ana; deluser --quiet ana")
	end := b.stop(s, false)
	t.Logf("stopped by %s: %v", end.How, end.Captured.Summary())
	if end.How != "agent" {
		t.Errorf("the guest was stopped by %s", end.How)
	}
	tree, err := b.Repo.Tree(t.Context(), "d")
	if err != nil {
		t.Fatal(err)
	}
	if tree.Find("home/ana/live.txt") != nil {
		t.Error("a removed file is still in its layer")
	}

	// A supervisor that dies leaves record and delta disk to the next one.
	b.verify()
}
