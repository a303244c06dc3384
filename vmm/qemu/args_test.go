package qemu_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"satchel/vmm/qemu"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// full is a configuration with all its parts.
func full() qemu.Config {
	return qemu.Config{
		Name: "ana", Memory: 768 << 20, CPUs: 2,
		Accel:  qemu.Accel{Name: qemu.KVM, CPU: "host,-arch-capabilities"},
		Kernel: "/run/s/vmlinuz", Initrd: "/run/s/initrd", KernelArgs: []string{"console=ttyS0", "quiet"},
		Root: "/run/s/root.sock", Delta: "/home/ana/delta", Agent: "/run/s/agent.sock",
		Console: qemu.Console{Socket: "/run/s/console.sock", Log: "/run/s/console.log"},
		Display: qemu.Display{Kind: qemu.VNC, VNC: "127.0.0.1:5977"},
		Network: qemu.Network{Mode: qemu.User, Restrict: true},
		QMP:     "/run/s/qmp.sock",
		RAM:     os.Stdin, Paused: true, // any file: QEMU finds it by its number
	}
}

func TestArgsGolden(t *testing.T) {
	commas := full()
	commas.Name = "a,b"
	commas.Root, commas.Delta, commas.Agent, commas.QMP = "/r,1", "/d,,2", "/a,3", "/q,4"
	commas.Console = qemu.Console{Log: "/c,5"}
	commas.Display = qemu.Display{Kind: qemu.VNC, VNC: "/v,7", Device: "VGA"}
	commas.Kernel, commas.Initrd = "/k,8", "/i,9" // not in a list of options
	for name, c := range map[string]qemu.Config{
		"least":    {Memory: 64 << 20},
		"full":     full(),
		"commas":   commas,
		"window":   {Memory: 1<<30 + 1, Display: qemu.Display{Kind: qemu.Window}, Network: qemu.Network{Mode: qemu.User}},
		"incoming": {Memory: 1 << 30, RAM: os.Stdin, Incoming: true},
		"screen":   {Memory: 1 << 30, Display: qemu.Display{Device: "virtio-vga"}, Console: qemu.Console{Socket: "/c"}},
		"uefi":     {Memory: 1 << 30, Disk: qemu.Disk{Socket: "/d,1", Code: "/code,2", Vars: "/vars,3"}, Display: qemu.Display{Device: "virtio-vga"}, Network: qemu.Network{Mode: qemu.User}},
		"sata":     {Memory: 1 << 30, RAM: os.Stdin, Disk: qemu.Disk{Socket: "/d", Bus: qemu.SATA}, Display: qemu.Display{Device: "VGA"}, Network: qemu.Network{Mode: qemu.User}},
	} {
		t.Run(name, func(t *testing.T) {
			if err := c.Validate(); err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", "args", name+".txt")
			got := strings.Join(qemu.Args(c), "\n") + "\n"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestArgsDoNotShareState(t *testing.T) {
	if c := full(); !slices.Equal(qemu.Args(c), qemu.Args(c)) {
		t.Error("two calls differ")
	}
}

// Machines have the same fingerprint just when a state of one fits the other.
func TestFingerprint(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*qemu.Config)
		same   bool
	}{
		"itself":      {func(*qemu.Config) {}, true},
		"paths":       {func(c *qemu.Config) { c.Kernel, c.Root, c.Delta, c.Agent = "/k", "/r", "/d", "/a" }, true},
		"console":     {func(c *qemu.Config) { c.Console = qemu.Console{Socket: "/c", Log: "/l"} }, true},
		"screen":      {func(c *qemu.Config) { c.Display = qemu.Display{Kind: qemu.Window, Device: "virtio-gpu-pci"} }, false},
		"no screen":   {func(c *qemu.Config) { c.Display = qemu.Display{Kind: qemu.None, Device: c.Display.Device} }, true},
		"incoming":    {func(c *qemu.Config) { c.Incoming, c.Paused, c.QMP = true, false, "" }, true},
		"name":        {func(c *qemu.Config) { c.Name = "ben" }, true},
		"memory":      {func(c *qemu.Config) { c.Memory *= 2 }, false},
		"processors":  {func(c *qemu.Config) { c.CPUs++ }, false},
		"accelerator": {func(c *qemu.Config) { c.Accel = qemu.Accel{} }, false},
		"network":     {func(c *qemu.Config) { c.Network.Mode = qemu.NoNetwork }, false},
		"no delta":    {func(c *qemu.Config) { c.Delta = "" }, false},
		"words":       {func(c *qemu.Config) { c.KernelArgs = append(c.KernelArgs, "x") }, false},
		"own memory":  {func(c *qemu.Config) { c.RAM = nil }, false},
		"disk":        {func(c *qemu.Config) { c.Disk = qemu.Disk{Socket: "/d"} }, false},
	} {
		c := full()
		c.Display.Device = "virtio-vga"
		want := qemu.Fingerprint(c)
		tt.change(&c)
		if got := qemu.Fingerprint(c); (got == want) != tt.same {
			t.Errorf("%s: same fingerprint %v, want %v", name, got == want, tt.same)
		}
	}
	disk := qemu.Config{Memory: 1 << 30, Disk: qemu.Disk{Socket: "/s", Code: "/c", Vars: "/v"}}
	for name, tt := range map[string]struct {
		disk qemu.Disk
		same bool
	}{
		"paths":    {qemu.Disk{Socket: "/s2", Code: "/c2", Vars: "/v2"}, true},
		"bus":      {qemu.Disk{Socket: "/s", Code: "/c", Vars: "/v", Bus: qemu.SATA}, false},
		"firmware": {qemu.Disk{Socket: "/s"}, false},
	} {
		other := disk
		other.Disk = tt.disk
		if same := qemu.Fingerprint(other) == qemu.Fingerprint(disk); same != tt.same {
			t.Errorf("disk, %s: same fingerprint %v, want %v", name, same, tt.same)
		}
	}
}

func TestValidate(t *testing.T) {
	long := "/" + strings.Repeat("s", 107)
	for name, change := range map[string]func(*qemu.Config){
		"little memory":      func(c *qemu.Config) { c.Memory = 1 << 20 },
		"negative memory":    func(c *qemu.Config) { c.Memory = -1 },
		"much memory":        func(c *qemu.Config) { c.Memory = 1 << 60 },
		"negative CPUs":      func(c *qemu.Config) { c.CPUs = -1 },
		"many CPUs":          func(c *qemu.Config) { c.CPUs = 1000 },
		"name":               func(c *qemu.Config) { c.Name = "a\nb" },
		"initrd alone":       func(c *qemu.Config) { c.Kernel = "" },
		"relative kernel":    func(c *qemu.Config) { c.Kernel = "vmlinuz" },
		"NUL in delta":       func(c *qemu.Config) { c.Delta = "/a\x00b" },
		"long socket":        func(c *qemu.Config) { c.Root = long },
		"long agent socket":  func(c *qemu.Config) { c.Agent = qemu.Socket(long) },
		"accelerator":        func(c *qemu.Config) { c.Accel.Name = "hax" },
		"display":            func(c *qemu.Config) { c.Display = qemu.Display{Kind: "sdl"} },
		"graphics":           func(c *qemu.Config) { c.Display.Device = "VGA,id=x" },
		"VNC to the world":   func(c *qemu.Config) { c.Display.VNC = "0.0.0.0:5900" },
		"VNC port":           func(c *qemu.Config) { c.Display.VNC = "127.0.0.1:80" },
		"VNC without place":  func(c *qemu.Config) { c.Display.VNC = "" },
		"place without VNC":  func(c *qemu.Config) { c.Display.Kind = qemu.Window },
		"network":            func(c *qemu.Config) { c.Network.Mode = "tap" },
		"two faults at once": func(c *qemu.Config) { c.Network.Mode, c.CPUs = "tap", -1 },
	} {
		t.Run(name, func(t *testing.T) {
			c := full()
			change(&c)
			if err := c.Validate(); !errors.Is(err, qemu.ErrConfig) {
				t.Errorf("got %v, want %v", err, qemu.ErrConfig)
			}
		})
	}
}
