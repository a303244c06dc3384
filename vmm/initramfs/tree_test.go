package initramfs

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"io"
	"io/fs"
	"maps"
	"testing"
	"testing/fstest"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

const (
	release = "6.1.0-50-amd64"
	modDir  = "usr/lib/modules/" + release + "/"
)

func file(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s), Mode: 0o644} }

func link(to string) *fstest.MapFile {
	return &fstest.MapFile{Data: []byte(to), Mode: fs.ModeSymlink | 0o777}
}

// baseTree is a made-up guest, merged /usr, whose kernel has everything as a
// module, as Debian's generic one.
func baseTree(t *testing.T) fstest.MapFS {
	t.Helper()
	tree := fstest.MapFS{
		"lib":                       link("usr/lib"),
		"sbin":                      link("/usr/sbin"),
		"usr/sbin/init":             link("/lib/systemd/systemd"),
		"usr/lib/systemd/systemd":   file("systemd"),
		"boot/vmlinuz-" + release:   file("kernel"),
		modDir + "modules.builtin":  file("kernel/fs/nls/nls_base.ko\n"),
		modDir + "modules.softdep":  file("# made up\nsoftdep libcrc32c pre: crc32c\nsoftdep ext4 pre: crc32c\nsoftdep crc32c_generic pre: libcrc32c\nsoftdep overlay post: drm\n"),
		modDir + "modules.alias":    file("alias crc32c crc32c_generic\nalias crypto-crc32c crc32c_intel\nalias crc32c crc32c_intel\nalias pci:v00001AF4d*sv* virtio_pci\n"),
		modDir + "kernel/x/drm.ko":  file("drm"),
		modDir + "kernel/x/bare.ko": file("bare"),
	}
	deps := ""
	for _, m := range []struct{ file, needs string }{
		{"kernel/drivers/virtio/virtio.ko", ""},
		{"kernel/drivers/virtio/virtio_ring.ko", "kernel/drivers/virtio/virtio.ko"},
		{"kernel/drivers/virtio/virtio_pci.ko.xz", "kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko"},
		{"kernel/drivers/block/virtio_blk.ko.zst", "kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko"},
		{"kernel/drivers/char/virtio_console.ko.gz", "kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko"},
		{"kernel/drivers/char/hw_random/virtio-rng.ko", "kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko"},
		{"kernel/drivers/gpu/drm/virtio-gpu.ko", "kernel/x/drm.ko"},
		{"kernel/x/drm.ko", ""},
		{"kernel/crypto/crc32c_generic.ko", ""},
		{"kernel/arch/x86/crypto/crc32c-intel.ko", ""},
		{"kernel/lib/libcrc32c.ko", ""},
		{"kernel/lib/crc16.ko", ""},
		{"kernel/fs/mbcache.ko", ""},
		{"kernel/fs/jbd2/jbd2.ko", ""},
		{"kernel/fs/erofs/erofs.ko", "kernel/lib/libcrc32c.ko"},
		{"kernel/fs/ext4/ext4.ko", "kernel/lib/crc16.ko kernel/fs/mbcache.ko kernel/fs/jbd2/jbd2.ko"},
		{"kernel/fs/overlayfs/overlay.ko", "kernel/fs/nls/nls_base.ko"},
	} {
		deps += m.file + ": " + m.needs + "\n"
		tree[modDir+m.file] = &fstest.MapFile{Data: pack(t, m.file), Mode: 0o644}
	}
	tree[modDir+"modules.dep"] = file(deps)
	return tree
}

// pack compresses the content of a made-up module, "module NAME", as its name
// asks for.
func pack(t *testing.T, name string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := io.WriteCloser(nopCloser{&b})
	var err error
	switch name[len(name)-3:] {
	case ".xz":
		w, err = xz.NewWriter(&b)
	case "zst":
		w, err = zstd.NewWriter(&b)
	case ".gz":
		w = gzip.NewWriter(&b)
	}
	if err == nil {
		_, err = io.WriteString(w, "module "+moduleName(name))
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// without returns a copy of the tree that lacks some names.
func without(tree fstest.MapFS, names ...string) fstest.MapFS {
	tree = maps.Clone(tree)
	for _, n := range names {
		delete(tree, n)
	}
	return tree
}

// with returns a copy of the tree with a file more.
func with(tree fstest.MapFS, name string, f *fstest.MapFile) fstest.MapFS {
	tree = maps.Clone(tree)
	tree[name] = f
	return tree
}

// bzImage is the head of a kernel image that names its release.
func bzImage(release string) string {
	b := make([]byte, 0x400)
	copy(b[0x202:], "HdrS")
	binary.LittleEndian.PutUint16(b[0x20E:], 0x100)
	copy(b[0x300:], release+" (builder@host) #1 SMP\x00")
	return string(b)
}
