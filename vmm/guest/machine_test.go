package guest_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"satchel/vmm/agent"
	"satchel/vmm/delta"
	"satchel/vmm/initramfs"
	"satchel/vmm/nbd"
	"satchel/vmm/qemu"
)

// guestsVar names a directory with a real guest tree, os-v1.tar. `make test`
// sets it.
const guestsVar = "SATCHEL_TEST_GUESTS"

// A tree is a real guest, unpacked, and what it boots from.
type tree struct {
	kernel, initrd, image string
	boot                  initramfs.Boot
}

// realTree unpacks the real guest once for all tests.
var realTree = sync.OnceValues(func() (tree, error) {
	dir, err := os.MkdirTemp("", "satchel-guest-test-")
	if err != nil {
		return tree{}, err
	}
	cleanUps = append(cleanUps, func() { os.RemoveAll(dir) })
	at := func(name string) string { return filepath.Join(dir, name) }
	tr := tree{kernel: at("kernel"), initrd: at("initrd"), image: at("root.erofs")}
	for _, args := range [][]string{
		{"mkdir", at("tree")},
		{"tar", "-C", at("tree"), "--no-same-owner", "--exclude=./dev/*", "-xf", filepath.Join(os.Getenv(guestsVar), "os-v1.tar")},
		{"mkfs.erofs", "--quiet", "-T0", "--all-root", tr.image, at("tree")},
		{"env", "CGO_ENABLED=0", "go", "build", "-trimpath", "-ldflags=-s -w", "-o", at("satchel-guest"), "satchel/cmd/satchel-guest"},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return tree{}, &os.PathError{Op: strings.Join(args, " "), Path: string(out), Err: err}
		}
	}
	return tr, tr.build(at("tree"), at("satchel-guest"))
})

// build makes kernel and initrd from the tree.
func (tr *tree) build(dir, guestBinary string) error {
	binary, err := os.ReadFile(guestBinary)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	initrd, err := os.Create(tr.initrd)
	if err != nil {
		return err
	}
	defer initrd.Close()
	if tr.boot, err = initramfs.Build(initrd, root.FS(), binary, initramfs.Options{}); err != nil {
		return err
	}
	kernel, err := root.ReadFile(tr.boot.KernelPath)
	if err != nil {
		return err
	}
	return os.WriteFile(tr.kernel, kernel, 0o600)
}

var cleanUps []func()

func TestMain(m *testing.M) {
	code := m.Run()
	for _, f := range cleanUps {
		f()
	}
	os.Exit(code)
}

// A machine is a guest that runs.
type machine struct {
	*qemu.Process
	t       *testing.T
	dir     string
	started time.Time
}

// boot starts the real guest on a delta disk, none if the path is empty.
func boot(t *testing.T, deltaDisk string, opt initramfs.CommandLineOptions) *machine {
	t.Helper()
	if os.Getenv(guestsVar) == "" {
		t.Skip("no real guest: " + guestsVar + " is not set")
	}
	tr, err := realTree()
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{t: t, dir: t.TempDir(), started: time.Now()}
	serveImage(t, tr.image, m.at("nbd.sock"))
	opt.Emulated = true
	m.started = time.Now()
	m.Process, err = qemu.Start(t.Context(), qemu.Config{
		Memory: 768 << 20,
		Kernel: tr.kernel, Initrd: tr.initrd, KernelArgs: strings.Fields(initramfs.CommandLine(opt)),
		Root: m.at("nbd.sock"), Delta: deltaDisk,
		Agent:   qemu.Socket(m.at("agent.sock")),
		Console: qemu.Console{Log: m.at("console")},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		m.Kill()
		if t.Failed() {
			t.Logf("console:\n%s", m.console())
		}
	})
	return m
}

// serveImage serves a file as a read-only disk until the test ends.
func serveImage(t *testing.T, file, socket string) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	image := io.NewSectionReader(f, 0, info.Size())
	go func() { done <- nbd.NewServer("root", image, nbd.Options{}).Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		f.Close()
	})
}

func (m *machine) at(name string) string { return filepath.Join(m.dir, name) }

func (m *machine) console() string {
	text, err := os.ReadFile(m.at("console"))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// dial connects to the guest's agent.
func (m *machine) dial() *agent.Client {
	m.t.Helper()
	conn, err := net.Dial("unix", m.at("agent.sock"))
	if err != nil {
		m.t.Fatal(err)
	}
	c := agent.NewClient(conn)
	m.t.Cleanup(func() { _ = c.Close() })
	return c
}

// end waits for the machine's end.
func (m *machine) end() qemu.Exit {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), 5*time.Minute)
	defer cancel()
	exit, err := m.Wait(ctx)
	if err != nil {
		m.t.Fatal(err)
	}
	return exit
}

// newDelta makes a delta disk.
func newDelta(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "delta")
	if err := delta.Create(t.Context(), path, 1<<30); err != nil {
		t.Fatal(err)
	}
	return path
}

// wantClean fails the test unless the delta disk at path needs no recovery.
func wantClean(t *testing.T, path string) {
	t.Helper()
	st, err := delta.State(path)
	if err != nil {
		t.Fatal(err)
	}
	if st.Condition != delta.Clean {
		t.Errorf("delta disk is %v, want clean", st.Condition)
	}
}
