package initramfs

import (
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
)

// Options choose what else an initial RAM file system holds.
type Options struct {
	// Modules are further modules to load before the guest's init starts,
	// by name, such as virtio_gpu. Those that the kernel lacks are left out.
	Modules []string
}

// A Boot describes what was built.
type Boot struct {
	KernelPath string   // of the kernel in the tree, relative, without links
	Release    string   // of the kernel
	Modules    []string // in the order to load
}

// A feature is what the start cannot do without.
type feature struct{ what, module string }

// features are in the order in which their modules are loaded: first what makes
// the disks appear.
var features = []feature{
	{"virtio over PCI", "virtio_pci"},
	{"virtio disks", "virtio_blk"},
	{"virtio serial ports", "virtio_console"},
	{"the EROFS file system", "erofs"},
	{"the ext4 file system", "ext4"},
	{"the overlay file system", "overlay"},
}

// useful are modules worth loading early where the kernel has them: entropy.
var useful = []string{"virtio_rng"}

// Build writes the initial RAM file system of the guest tree root to w: an
// uncompressed cpio archive with guestBinary as its init. A tree that cannot
// start gives a [*MissingError], and nothing is written.
func Build(w io.Writer, root fs.FS, guestBinary []byte, opt Options) (Boot, error) {
	boot, t, err := plan(root, opt)
	if err != nil {
		return Boot{}, err
	}
	c := &cpioWriter{w: w}
	for _, dir := range []string{"dev", "proc", "sys", "run", "lower", "delta", "root", "modules"} {
		c.dir(dir, 0o755)
	}
	c.char("dev/console", 0o600, 5, 1) // or the kernel gives init no output
	c.file("init", 0o755, guestBinary)
	var order strings.Builder
	for _, module := range boot.Modules {
		data, err := readModule(root, path.Join(t.dir, t.file[module]))
		if err != nil {
			return Boot{}, err
		}
		c.file("modules/"+module+".ko", 0o644, data)
		order.WriteString(module + ".ko\n")
	}
	c.file("modules/order", 0o644, []byte(order.String()))
	if err := c.close(); err != nil {
		return Boot{}, fmt.Errorf("write initial RAM file system: %w", err)
	}
	return boot, nil
}

// plan finds the kernel and its modules, or everything that is missing.
func plan(root fs.FS, opt Options) (Boot, *tables, error) {
	var missing []string
	if !exists(root, "sbin/init") && !exists(root, "usr/lib/systemd/systemd") {
		missing = append(missing, missingInit)
	}
	name, release, err := Kernel(root)
	if err != nil {
		return Boot{}, nil, &MissingError{append(missing, missingKernel)}
	}
	boot := Boot{KernelPath: name, Release: release}
	dir, ok := moduleDir(root, release)
	if !ok {
		return Boot{}, nil, &MissingError{append(missing, fmt.Sprintf(missingModules, release, release))}
	}
	t := readTables(root, dir)
	if len(t.file) == 0 {
		return Boot{}, nil, &MissingError{append(missing, fmt.Sprintf(missingDep, release, release))}
	}
	for _, f := range features {
		if t.file[f.module] == "" && !t.builtin[f.module] {
			missing = append(missing, fmt.Sprintf(missingFeature, f.what, release, f.module))
		}
		boot.Modules = t.order(boot.Modules, f.module)
	}
	if len(missing) > 0 {
		return Boot{}, nil, &MissingError{missing}
	}
	for _, m := range append(useful[:len(useful):len(useful)], opt.Modules...) {
		boot.Modules = t.order(boot.Modules, kernelName(m))
	}
	return boot, t, nil
}
