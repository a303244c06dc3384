package session

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"satchel/layers"
	"satchel/layers/ingest"
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
	t      *testing.T
	guests string // directory of what $SATCHEL_TEST_GUESTS holds
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
	b := &bench{&Host{Home: home, Store: st, Repo: repo.New(st, "test"), Workspaces: workspace.Open(home), Note: t.Logf}, t, guests}
	b.importTar("debian", "os-v1.tar")
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
	f, err := os.Open(filepath.Join(b.guests, file))
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

// start starts ana, without waiting until she is up.
func (b *bench) start() (*Session, *Captured) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), guestTimeout)
	defer cancel()
	s, before, err := b.Start(ctx, "ana", Options{Memory: 512 << 20})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { s.Stop(context.Background(), true) })
	return s, before
}

// boot starts ana and waits until she is up.
func (b *bench) boot() *Session {
	b.t.Helper()
	s, _ := b.start()
	ctx, cancel := context.WithTimeout(context.Background(), guestTimeout)
	defer cancel()
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
	out, err := b.try(s, script, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	return out
}

// try is guest for what may fail, or reads something.
func (b *bench) try(s *Session, script string, stdin io.Reader) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), guestTimeout)
	defer cancel()
	var out, errs bytes.Buffer
	code, err := s.Agent().Exec(ctx, agent.ExecRequest{Argv: []string{"sh", "-ec", script}, Stdin: stdin, Stdout: &out, Stderr: &errs})
	if err == nil && code != 0 {
		err = fmt.Errorf("exit status %d", code)
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s%s", script, err, out.String(), errs.String())
	}
	return strings.TrimSpace(out.String()), nil
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

// has reports whether the head of a layer has a path.
func (b *bench) has(layer, path string) bool {
	b.t.Helper()
	tree, err := b.Repo.Tree(b.t.Context(), layer)
	if err != nil {
		b.t.Fatal(err)
	}
	return tree.Find(path) != nil
}

// holds checks that the head of a layer has the paths.
func (b *bench) holds(layer string, paths ...string) {
	b.t.Helper()
	for _, path := range paths {
		if !b.has(layer, path) {
			b.t.Errorf("layer %s has no %s", layer, path)
		}
	}
}

func (b *bench) verify() {
	b.t.Helper()
	result, err := b.Store.Verify(b.t.Context(), b.Repo.Walker(), nil)
	if err = errors.Join(err, result.Err()); err != nil {
		b.t.Error(err)
	}
}
