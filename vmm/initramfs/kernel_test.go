package initramfs

import (
	"errors"
	"io/fs"
	"testing"
	"testing/fstest"
)

func TestKernel(t *testing.T) {
	for name, tt := range map[string]struct {
		tree          fstest.MapFS
		path, release string
	}{
		"newest by version": {
			fstest.MapFS{"boot/vmlinuz-6.1.0-9-amd64": file(""), "boot/vmlinuz-6.1.0-10-amd64": file(""), "boot/vmlinuz-5.10.0-99-amd64": file("")},
			"boot/vmlinuz-6.1.0-10-amd64", "6.1.0-10-amd64",
		},
		"newest that has modules": {
			fstest.MapFS{
				"boot/vmlinuz-6.1": file(""), "boot/vmlinuz-6.2": file(""), "boot/vmlinuz-6.0": file(""),
				"usr/lib/modules/6.0/modules.dep": file(""), "usr/lib/modules/6.1/modules.dep": file(""), "lib": link("usr/lib"),
			},
			"boot/vmlinuz-6.1", "6.1",
		},
		"beside its modules": {
			fstest.MapFS{"usr/lib/modules/6.5.1/vmlinuz": file(""), "usr/lib/modules/6.5.1/modules.dep": file("")},
			"usr/lib/modules/6.5.1/vmlinuz", "6.5.1",
		},
		"through a link": {
			fstest.MapFS{"boot/vmlinuz-6.9": link("/opt/kernels/six"), "opt/kernels/six": file("")},
			"opt/kernels/six", "6.9",
		},
		"only a name without release": {
			fstest.MapFS{"vmlinuz": link("boot/image"), "boot/image": file(bzImage("6.7.8-x"))},
			"boot/image", "6.7.8-x",
		},
		"not links that lead nowhere": {
			fstest.MapFS{"boot/vmlinuz-9": link("gone"), "boot/vmlinuz-8": link("../../../boot/vmlinuz-8"), "boot/vmlinuz-7": file("")},
			"boot/vmlinuz-7", "7",
		},
	} {
		t.Run(name, func(t *testing.T) {
			path, release, err := Kernel(tt.tree)
			if err != nil || path != tt.path || release != tt.release {
				t.Errorf("got %q, %q, %v; want %q, %q", path, release, err, tt.path, tt.release)
			}
		})
	}
	for name, tree := range map[string]fstest.MapFS{
		"empty tree":  {},
		"no bzImage":  {"vmlinuz": file("short")},
		"bad pointer": {"vmlinuz": file(bzImage("")[:0x2F0])},
	} {
		var missing *MissingError
		if path, _, err := Kernel(tree); !errors.As(err, &missing) {
			t.Errorf("%s: %q, %v", name, path, err)
		}
	}
}

func TestCompareVersions(t *testing.T) {
	ordered := []string{"5.10.0-9", "5.10.0-10", "5.10.0-010-z", "6.1", "6.1.0", "6.1.0-50-amd64", "6.1.0-50-cloud-amd64", "6.12"}
	for i, a := range ordered {
		for j, b := range ordered {
			if got := compareVersions(a, b); (got < 0) != (i < j) || (got > 0) != (i > j) {
				t.Errorf("compare %s and %s: %d", a, b, got)
			}
		}
	}
}

func TestFollow(t *testing.T) {
	tree := fstest.MapFS{
		"usr/lib/x": file(""), "lib": link("usr/lib"), "abs": link("/lib/x"), "up": link("../../usr/./lib/x"),
		"loop": link("loop"), "dir/rel": link("../lib/x"), "nowhere": link("gone"),
	}
	for name, want := range map[string]string{
		"lib/x": "usr/lib/x", "/lib/x": "usr/lib/x", "abs": "usr/lib/x", "up": "usr/lib/x",
		"dir/rel": "usr/lib/x", "": ".", "lib/..": "usr", "lib/../..": ".",
	} {
		if got, err := follow(tree, name); err != nil || got != want {
			t.Errorf("follow %q: %q, %v; want %q", name, got, err, want)
		}
	}
	if _, err := follow(tree, "loop"); !errors.Is(err, errLoop) {
		t.Errorf("loop: %v", err)
	}
	for _, name := range []string{"nowhere", "gone", "usr/lib/x/y"} {
		if got, err := follow(tree, name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}
