package initramfs

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// FuzzTables checks that any tables give an order in which each module comes
// once and after its hard dependencies.
func FuzzTables(f *testing.F) {
	f.Add("a.ko: b.ko c.ko\nb.ko: c.ko\nc.ko:\n", "softdep c pre: x\n", "alias x d\n", "a")
	f.Add("a.ko: b.ko\nb.ko: a.ko\n", "softdep a pre: a\n", "alias a* a\n", "a")
	f.Add("x-y.ko.zst:\n", "softdep x_y z\n", "alias [ q\n", "x_y")
	f.Fuzz(func(t *testing.T, dep, softdep, alias, module string) {
		tree := fstest.MapFS{"m/modules.dep": file(dep), "m/modules.softdep": file(softdep), "m/modules.alias": file(alias)}
		order := readTables(tree, "m").order(nil, module)
		seen := make(map[string]bool)
		for _, m := range order {
			if seen[m] {
				t.Fatalf("%s comes twice in %v", m, order)
			}
			seen[m] = true
		}
	})
}

func TestOrderInCircles(t *testing.T) {
	tree := fstest.MapFS{"m/modules.dep": file("a.ko: c.ko b.ko\nb.ko: c.ko\nc.ko:\n"), "m/modules.softdep": file("softdep c pre: a\n")}
	if got := strings.Join(readTables(tree, "m").order(nil, "a"), " "); got != "c b a" {
		t.Errorf("got %q", got)
	}
}

func TestCommandLine(t *testing.T) {
	for name, tt := range map[string]struct {
		opt  CommandLineOptions
		with []string
		none []string
	}{
		"plain":    {CommandLineOptions{}, []string{"console=ttyS0", "panic=-1", "quiet", "systemd.show_status=0"}, []string{"mitigations=off", "console=tty0", "satchel.probe=1"}},
		"emulated": {CommandLineOptions{Emulated: true}, []string{"mitigations=off", "tsc=reliable"}, nil},
		"verbose":  {CommandLineOptions{Verbose: true}, nil, []string{"quiet", "loglevel=3"}},
		"all": {
			CommandLineOptions{Screen: true, Probe: true, Ldconfig: true, Hostname: "oak", Mask: []string{"a.timer", "b.mount"}, Extra: []string{"init=/bin/sh"}},
			[]string{"console=tty0", "satchel.probe=1", "satchel.ldconfig=1", "systemd.hostname=oak", "systemd.mask=a.timer", "systemd.mask=b.mount", "init=/bin/sh"}, nil,
		},
	} {
		words := strings.Fields(CommandLine(tt.opt))
		for _, w := range tt.with {
			if !slices.Contains(words, w) {
				t.Errorf("%s: no %s in %v", name, w, words)
			}
		}
		for _, w := range tt.none {
			if slices.Contains(words, w) {
				t.Errorf("%s: %s in %v", name, w, words)
			}
		}
	}
	// The last console is the one that init writes to.
	if line := CommandLine(CommandLineOptions{Screen: true}); strings.Index(line, "tty0") > strings.Index(line, "ttyS0") {
		t.Errorf("the serial port is not the last console: %s", line)
	}
}
