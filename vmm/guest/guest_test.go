package guest

import (
	"strings"
	"testing"
	"testing/fstest"
)

func TestParseOrders(t *testing.T) {
	const usual = "/sbin/init /usr/lib/systemd/systemd"
	for line, want := range map[string]struct {
		probe, ldconfig bool
		inits           string
	}{
		"":                                   {inits: usual},
		"quiet satchel.probe=1\n":            {probe: true, inits: usual},
		"satchel.probe=0 satchel.ldconfig=1": {ldconfig: true, inits: usual},
		"init=/a x init=/bin/sh":             {inits: "/bin/sh"},
		"rdinit=/init":                       {inits: usual},
	} {
		got := parseOrders(line)
		if got.probe != want.probe || got.ldconfig != want.ldconfig || strings.Join(got.inits, " ") != want.inits {
			t.Errorf("%q: %+v, want %+v", line, got, want)
		}
	}
}

func TestFindDevices(t *testing.T) {
	sys := fstest.MapFS{
		"block/vda/serial":                   {Data: []byte("root\n")},
		"block/vdb/serial":                   {Data: []byte("delta")},
		"block/loop0/size":                   {},
		"class/virtio-ports/vport1p1/name":   {Data: []byte("satchel.agent\n")},
		"class/virtio-ports/vport1p2/number": {},
	}
	for serial, want := range map[string]string{SerialRoot: "vda", SerialDelta: "vdb", "rooted": ""} {
		if got, ok := findDisk(sys, serial); got != want || ok != (want != "") {
			t.Errorf("disk %s: %q, %v", serial, got, ok)
		}
	}
	if got, ok := findPort(sys, PortName); got != "vport1p1" || !ok {
		t.Errorf("port: %q, %v", got, ok)
	}
	if got, ok := findPort(fstest.MapFS{}, PortName); ok {
		t.Errorf("port without any: %q", got)
	}
}

func TestMountsBelow(t *testing.T) {
	const info = `21 1 0:20 / / rw - tmpfs tmpfs rw
22 21 0:21 / /oldroot rw shared:1 - overlay overlay rw
23 22 0:22 / /oldroot/dev rw - devtmpfs devtmpfs rw
24 21 0:23 / /oldroots rw - tmpfs tmpfs rw
bad line
25 23 0:24 / /oldroot/mnt/a\040b\134 rw - ext4 /dev/vdc rw
`
	got := mountsBelow(strings.NewReader(info), oldRoot)
	if want := "/oldroot|/oldroot/dev|/oldroot/mnt/a b\\"; strings.Join(got, "|") != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestListensFor(t *testing.T) {
	for _, tt := range []struct {
		status string
		want   bool
	}{
		{"Name:\tsystemd\nSigBlk:\t7fefc1fe28014a03\nSigCgt:\t0000000000000000\n", true}, // as systemd's
		{"SigBlk:\t0000000000000000\nSigCgt:\t0000002000000000\n", true},
		{"SigBlk:\t0000000000000000\nSigIgn:\tffffffffffffffff\nSigCgt:\t0000001000000000\n", false},
		{"SigBlk:\tnonsense\n", false},
		{"", false},
	} {
		if got := listensFor([]byte(tt.status), sigPoweroff); got != tt.want {
			t.Errorf("%q: %v, want %v", tt.status, got, tt.want)
		}
	}
}

func TestRestarts(t *testing.T) {
	for verb, want := range map[string]bool{"poweroff": false, "reboot": true, "halt": false, "kexec": true, "exit": false} {
		if got := restarts([]string{verb, "--log-level", "6"}); got != want {
			t.Errorf("%s: %v", verb, got)
		}
	}
	if restarts(nil) {
		t.Error("restarts without being asked to")
	}
}

func TestPrettyName(t *testing.T) {
	for text, want := range map[string]string{
		"ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n": "Debian GNU/Linux 12 (bookworm)",
		"PRETTY_NAME='Some OS'": "Some OS",
		"NAME=x\n":              "",
	} {
		if got := prettyName([]byte(text)); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestMainRunsInGuestsOnly(t *testing.T) {
	for _, args := range [][]string{{"/usr/bin/satchel-guest"}, {"shutdown", "poweroff"}, nil} {
		if code := Main(args); code != 1 {
			t.Errorf("%q: exit code %d", args, code)
		}
	}
}
