package initramfs

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// goldenOrder is the order in which the made-up guest's modules are loaded.
var goldenOrder = []string{
	"virtio", "virtio_ring", "virtio_pci", "virtio_blk", "virtio_console",
	"crc32c_generic", "crc32c_intel", "libcrc32c", "erofs",
	"jbd2", "mbcache", "crc16", "ext4", "overlay", "virtio_rng",
}

func TestBuild(t *testing.T) {
	tree := baseTree(t)
	var first, second bytes.Buffer
	boot, err := Build(&first, tree, []byte("binary"), Options{Modules: []string{"virtio-gpu", "no_such_module"}})
	if err != nil {
		t.Fatal(err)
	}
	want := append(slices.Clone(goldenOrder), "drm", "virtio_gpu")
	if !slices.Equal(boot.Modules, want) {
		t.Errorf("modules:\n got %v\nwant %v", boot.Modules, want)
	}
	if boot.KernelPath != "boot/vmlinuz-"+release || boot.Release != release {
		t.Errorf("kernel %q, release %q", boot.KernelPath, boot.Release)
	}
	if _, err := Build(&second, tree, []byte("binary"), Options{Modules: []string{"virtio-gpu"}}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("the same input gave other bytes")
	}
	files := make(map[string]string)
	for e, err := range readCpio(&first) {
		if err != nil {
			t.Fatal(err)
		}
		files[e.name] = string(e.data)
		if e.mtime != 0 {
			t.Errorf("%s has time %d", e.name, e.mtime)
		}
	}
	if files["init"] != "binary" {
		t.Errorf("init is %q", files["init"])
	}
	if got := strings.Fields(files["modules/order"]); !slices.Equal(got, suffixed(want)) {
		t.Errorf("modules/order is %v", got)
	}
	for _, m := range want {
		if got := files["modules/"+m+".ko"]; got != "module "+m {
			t.Errorf("module %s holds %q", m, got)
		}
	}
}

func suffixed(names []string) []string {
	out := slices.Clone(names)
	for i := range out {
		out[i] += ".ko"
	}
	return out
}

// TestBuildWithoutMergedUsr has the modules in a real /lib and things built in.
func TestBuildWithoutMergedUsr(t *testing.T) {
	tree := fstest.MapFS{}
	for name, f := range without(baseTree(t), "lib", "sbin", "usr/sbin/init") {
		tree[strings.TrimPrefix(name, "usr/")] = f
	}
	tree["sbin/init"] = file("init")
	tree["lib/modules/"+release+"/modules.builtin"] = file("kernel/fs/ext4/ext4.ko\nkernel/crypto/crc32c_generic.ko\n")
	boot, err := Build(io.Discard, tree, nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []string{"ext4", "jbd2", "crc32c_generic"} {
		if slices.Contains(boot.Modules, m) {
			t.Errorf("%s is loaded although ext4 is built in", m)
		}
	}
}

func TestMissing(t *testing.T) {
	tree := baseTree(t)
	noErofs := strings.ReplaceAll(string(tree[modDir+"modules.dep"].Data), "erofs", "erosion")
	for name, tt := range map[string]struct {
		tree fstest.MapFS
		want []string
	}{
		"everything": {fstest.MapFS{}, []string{"an init", "a kernel"}},
		"kernel":     {without(tree, "boot/vmlinuz-"+release), []string{"a kernel"}},
		"init":       {without(tree, "usr/sbin/init", "usr/lib/systemd/systemd"), []string{"an init"}},
		"modules": {
			fstest.MapFS{"sbin/init": file(""), "boot/vmlinuz-5.10": file("")},
			[]string{"the modules of kernel 5.10"},
		},
		"modules.dep": {without(tree, modDir+"modules.dep"), []string{"run depmod " + release}},
		"features": {
			with(without(tree, "usr/sbin/init", "usr/lib/systemd/systemd"), modDir+"modules.dep", file(strings.ReplaceAll(noErofs, "overlay", "underlay"))),
			[]string{"an init", "the EROFS file system in kernel " + release, "the overlay file system"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			_, err := Build(&out, tt.tree, nil, Options{})
			var missing *MissingError
			if !errors.As(err, &missing) {
				t.Fatalf("got %v, want a MissingError", err)
			}
			if len(missing.Items) != len(tt.want) {
				t.Errorf("%d things are missing, want %d", len(missing.Items), len(tt.want))
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error does not name %q:\n%v", want, err)
				}
			}
			if out.Len() > 0 {
				t.Error("something was written")
			}
		})
	}
}

func TestBuildNamesBadModule(t *testing.T) {
	name := modDir + "kernel/drivers/virtio/virtio_pci.ko.xz"
	for what, f := range map[string]*fstest.MapFile{"garbage": file("no xz at all"), "nothing": file("")} {
		if _, err := Build(io.Discard, with(baseTree(t), name, f), nil, Options{}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v", what, err)
		}
	}
	if _, err := Build(io.Discard, without(baseTree(t), name), nil, Options{}); err == nil || !strings.Contains(err.Error(), "virtio_pci") {
		t.Errorf("no file: got %v", err)
	}
}

// TestBuildPassesOnWriteErrors fails each write in turn.
func TestBuildPassesOnWriteErrors(t *testing.T) {
	for room := 0; room < 3000; room += 97 {
		if _, err := Build(&fullDisk{room}, baseTree(t), nil, Options{}); !errors.Is(err, errFull) {
			t.Fatalf("with room for %d bytes: %v", room, err)
		}
	}
}

var errFull = errors.New("no space left")

// fullDisk is a writer with room for a number of bytes.
type fullDisk struct{ room int }

func (d *fullDisk) Write(p []byte) (int, error) {
	if d.room -= len(p); d.room < 0 {
		return 0, errFull
	}
	return len(p), nil
}

// TestCpioReadsIt has cpio judge the archive.
func TestCpioReadsIt(t *testing.T) {
	if _, err := exec.LookPath("cpio"); err != nil {
		t.Skip("needs cpio:", err)
	}
	var archive bytes.Buffer
	if _, err := Build(&archive, baseTree(t), []byte("binary"), Options{}); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("cpio", "--extract", "--make-directories", "--quiet", "init", "modules/*")
	cmd.Dir, cmd.Stdin = t.TempDir(), &archive
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	root := os.DirFS(cmd.Dir)
	if got, err := read(root, "modules/erofs.ko"); err != nil || string(got) != "module erofs" {
		t.Errorf("erofs.ko: %q, %v", got, err)
	}
	if info, err := os.Stat(cmd.Dir + "/init"); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("init: %v, %v", info, err)
	}
}
