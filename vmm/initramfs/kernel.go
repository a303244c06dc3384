package initramfs

import (
	"bytes"
	"encoding/binary"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// moduleDirs are where trees keep modules; links between them are resolved.
var moduleDirs = []string{"usr/lib/modules", "lib/modules"}

// Kernel finds the newest kernel of a guest tree that has modules with it, or
// the newest if none has. The path is relative to root and has no links in it.
// A tree without a kernel gives a [*MissingError].
func Kernel(root fs.FS) (name, release string, err error) {
	found := kernels(root)
	if len(found) == 0 {
		return "", "", &MissingError{[]string{missingKernel}}
	}
	best := found[0]
	for _, k := range found {
		if _, ok := moduleDir(root, k.release); ok {
			best = k
			break
		}
	}
	return best.name, best.release, nil
}

type kernel struct{ name, release string }

// kernels lists the kernels of a tree, newest first.
func kernels(root fs.FS) []kernel {
	var all []kernel
	add := func(name, release string) {
		at, err := follow(root, name)
		if err != nil {
			return
		}
		if release == "" {
			release = imageRelease(root, at)
		}
		if release != "" {
			all = append(all, kernel{at, release})
		}
	}
	for _, name := range list(root, "boot") {
		if release, ok := strings.CutPrefix(name, "vmlinuz-"); ok {
			add("boot/"+name, release)
		}
	}
	for _, dir := range moduleDirs {
		for _, release := range list(root, dir) {
			add(path.Join(dir, release, "vmlinuz"), release)
		}
	}
	add("vmlinuz", "")
	add("boot/vmlinuz", "")
	slices.SortStableFunc(all, func(a, b kernel) int { return -compareVersions(a.release, b.release) })
	return all
}

// imageRelease reads the release from a kernel image's header: the Linux/x86
// boot protocol keeps the offset of its version string, less 0x200, at 0x20E.
func imageRelease(root fs.FS, name string) string {
	f, err := root.Open(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	head := make([]byte, 64<<10)
	n, err := io.ReadFull(f, head)
	if err != nil && n < 0x210 {
		return ""
	}
	head = head[:n]
	if !bytes.Equal(head[0x202:0x206], []byte("HdrS")) {
		return ""
	}
	at := 0x200 + int(binary.LittleEndian.Uint16(head[0x20E:]))
	if at >= len(head) {
		return ""
	}
	text, _, _ := bytes.Cut(head[at:], []byte{0})
	release, _, _ := strings.Cut(string(text), " ")
	return release
}

// compareVersions orders releases: runs of digits by value, all else by bytes.
func compareVersions(a, b string) int {
	for a != "" && b != "" {
		var x, y string
		x, a = digits(a)
		y, b = digits(b)
		x, y = strings.TrimLeft(x, "0"), strings.TrimLeft(y, "0")
		if len(x) != len(y) {
			return len(x) - len(y)
		}
		if c := strings.Compare(x, y); c != 0 {
			return c
		}
		if a == "" || b == "" {
			break
		}
		if a[0] != b[0] {
			return int(a[0]) - int(b[0])
		}
		a, b = a[1:], b[1:]
	}
	return len(a) - len(b)
}

// digits splits off the digits that s begins with.
func digits(s string) (run, rest string) {
	i := 0
	for i < len(s) && '0' <= s[i] && s[i] <= '9' {
		i++
	}
	return s[:i], s[i:]
}

// moduleDir finds the directory of a release's modules.
func moduleDir(root fs.FS, release string) (string, bool) {
	for _, dir := range moduleDirs {
		name, err := follow(root, path.Join(dir, release))
		if err == nil && (exists(root, path.Join(name, "modules.dep")) || exists(root, path.Join(name, "kernel"))) {
			return name, true
		}
	}
	return "", false
}
