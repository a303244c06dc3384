package benchmarks

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"satchel/layers"
	"satchel/layers/compose"
	"satchel/layers/erofs"
	"satchel/layers/ingest"
	"satchel/layers/manifest"
	"satchel/layers/tarball"
	"satchel/layers/treefs"
	"satchel/store/disk"
	"satchel/vmm/delta"
	"satchel/vmm/guest"
	"satchel/vmm/initramfs"
	"satchel/vmm/nbd"
	"satchel/vmm/qemu"
)

// A bootable is a real guest: its kernel and initrd, and its image, both in the
// store and as a file.
type bootable struct {
	dir   string
	store *disk.Store
	image *erofs.Image
	args  []string
}

// newBootable imports os-v1.tar of $SATCHEL_TEST_GUESTS, which `make guests`
// builds, and composes it.
func newBootable(b *testing.B) *bootable {
	b.Helper()
	guests := os.Getenv("SATCHEL_TEST_GUESTS")
	if guests == "" {
		b.Skip("SATCHEL_TEST_GUESTS names no directory with guests")
	}
	v := &bootable{dir: b.TempDir(), store: newStore(b)}
	tree := v.importTar(b, filepath.Join(guests, "os-v1.tar"))
	whole, err := compose.Compose(b.Context(), v.store, []compose.Layer{{Name: "os", Kind: layers.OS, Tree: tree}})
	if err != nil {
		b.Fatal(err)
	}
	if v.image, err = erofs.New(whole.Tree, whole, erofs.Options{}); err != nil {
		b.Fatal(err)
	}
	v.writeBoot(b, treefs.New(b.Context(), whole.Tree, whole))
	raw, err := os.Create(v.at("raw.erofs"))
	if err != nil {
		b.Fatal(err)
	}
	defer raw.Close()
	if _, err := v.image.WriteTo(raw); err != nil {
		b.Fatal(err)
	}
	return v
}

func (v *bootable) at(name string) string { return filepath.Join(v.dir, name) }

func (v *bootable) importTar(b *testing.B, file string) layers.Tree {
	b.Helper()
	f, err := os.Open(file)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	w, err := v.store.Begin(b.Context(), "benchmark")
	if err != nil {
		b.Fatal(err)
	}
	defer w.Close()
	pl := ingest.New(b.Context(), w, v.store.Domain())
	tree, _, err := tarball.Import(b.Context(), f, pl, tarball.Options{})
	if err != nil {
		b.Fatal(err)
	}
	root, err := manifest.WriteTree(b.Context(), w, tree)
	if err = errors.Join(err, w.Flush(b.Context())); err != nil {
		b.Fatal(err)
	}
	if tree, err = manifest.ReadTree(b.Context(), v.store, root); err != nil {
		b.Fatal(err)
	}
	return tree
}

func (v *bootable) writeBoot(b *testing.B, root *treefs.FS) {
	b.Helper()
	binary := v.at("satchel-guest")
	build := exec.Command("go", "build", "-o", binary, "satchel/cmd/satchel-guest")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	content, err := os.ReadFile(binary)
	if err != nil {
		b.Fatal(err)
	}
	var initrd bytes.Buffer
	boot, err := initramfs.Build(&initrd, root, content, initramfs.Options{})
	if err != nil {
		b.Fatal(err)
	}
	kernel, err := root.ReadFile(boot.KernelPath)
	if err = errors.Join(err, os.WriteFile(v.at("kernel"), kernel, 0o600), os.WriteFile(v.at("initrd"), initrd.Bytes(), 0o600)); err != nil {
		b.Fatal(err)
	}
	v.args = strings.Fields(initramfs.CommandLine(initramfs.CommandLineOptions{Emulated: true, Mask: initramfs.SlowUnits}))
}

// milestones are lines on the console, and when they came.
var milestones = []string{guest.Marker, guest.Handover, "login:"}

// boot runs the guest until its login prompt and returns how long each
// milestone took. The machine's arguments may be changed before it starts.
func (v *bootable) boot(b *testing.B, change func([]string)) []time.Duration {
	b.Helper()
	disk, log := v.at("delta"), v.at("console")
	os.Remove(disk)
	os.Remove(log)
	if err := delta.Create(b.Context(), disk, 1<<30); err != nil {
		b.Fatal(err)
	}
	args := qemu.Args(qemu.Config{
		Memory: 768 << 20, Kernel: v.at("kernel"), Initrd: v.at("initrd"), KernelArgs: v.args,
		Root: v.at("nbd.sock"), Delta: disk, Agent: qemu.Socket(v.at("agent.sock")), Console: qemu.Console{Log: log},
	})
	change(args)
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	near, far := os.NewFile(uintptr(pair[0]), "near"), os.NewFile(uintptr(pair[1]), "far")
	defer near.Close()
	cmd := exec.Command("qemu-system-x86_64", args...)
	cmd.ExtraFiles = []*os.File{far} // the monitor that the arguments name
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	far.Close()
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	var took []time.Duration
	for len(took) < len(milestones) {
		time.Sleep(5 * time.Millisecond)
		text, _ := os.ReadFile(log)
		for len(took) < len(milestones) && bytes.Contains(text, []byte(milestones[len(took)])) {
			took = append(took, time.Since(begun))
		}
		if time.Since(begun) > 5*time.Minute {
			b.Fatalf("no login prompt:\n%s", text)
		}
	}
	return took
}

// serve serves the image out of the store until the returned function is called.
func (v *bootable) serve(b *testing.B) (stop func()) {
	b.Helper()
	l, err := net.Listen("unix", v.at("nbd.sock"))
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- nbd.NewServer("", v.image, nbd.Options{}).Serve(ctx, l) }()
	return func() { cancel(); <-done }
}

// BenchmarkBoot boots the same guest from its image as a plain file and from
// the store, in turn, and reports the ratio of the times to each milestone.
// The store is opened anew for no boot: its cache of frames is warm from the
// second one on, as the file's pages are.
func BenchmarkBoot(b *testing.B) {
	v := newBootable(b)
	raw := func(args []string) {
		for i, a := range args {
			if strings.HasPrefix(a, "driver=nbd,") {
				args[i] = "driver=raw,node-name=root,read-only=on,file.driver=file,file.filename=" + v.at("raw.erofs")
			}
		}
	}
	names := []string{"init", "handover", "login"}
	file, store := make([]time.Duration, 3), make([]time.Duration, 3)
	n := 0
	for b.Loop() {
		n++
		for i, d := range v.boot(b, raw) {
			file[i] += d
		}
		stop := v.serve(b)
		for i, d := range v.boot(b, func([]string) {}) {
			store[i] += d
		}
		stop()
	}
	for i, name := range names {
		b.ReportMetric(file[i].Seconds()/float64(n), name+"-file-s")
		b.ReportMetric(store[i].Seconds()/float64(n), name+"-store-s")
		b.ReportMetric(float64(store[i])/float64(file[i]), name+"-ratio")
	}
}
