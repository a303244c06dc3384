package nbd_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"satchel/vmm/nbd"
)

// run runs a program that speaks NBD, and returns what it prints.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("needs %s: %v", name, err)
	}
	out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func TestNbdinfo(t *testing.T) {
	type export struct {
		Name         string   `json:"export-name"`
		Description  string   `json:"description"`
		Contexts     []string `json:"contexts"`
		Size         int64    `json:"export-size"`
		ReadOnly     bool     `json:"is_read_only"`
		MultiConn    bool     `json:"can_multi_conn"`
		Flush        bool     `json:"can_flush"`
		FUA          bool     `json:"can_fua"`
		Trim         bool     `json:"can_trim"`
		Zero         bool     `json:"can_zero"`
		Cache        bool     `json:"can_cache"`
		DF           bool     `json:"can_df"`
		BlockMinimum int      `json:"block_size_minimum"`
		BlockMaximum int      `json:"block_size_maximum"`
	}
	m := newMemory(1<<20 + 17)
	for name, tc := range map[string]struct {
		e    nbd.Export
		want export
	}{
		"writable": {m, export{Flush: true, FUA: true, Trim: true, Zero: true}},
		"readOnly": {readOnly{m}, export{ReadOnly: true}},
	} {
		t.Run(name, func(t *testing.T) {
			_, socket := serve(t, "root", tc.e, nbd.Options{Description: "a disk"})
			var got struct {
				Protocol   string
				Structured bool
				Exports    []export
			}
			out := run(t, "nbdinfo", "--json", "nbd+unix:///root?socket="+socket)
			if err := json.Unmarshal([]byte(out), &got); err != nil {
				t.Fatalf("%v in %s", err, out)
			}
			want := tc.want
			want.Name, want.Description, want.Size = "root", "a disk", 1<<20+17
			want.MultiConn, want.Cache, want.DF = true, true, true
			want.Contexts = []string{"base:allocation"}
			want.BlockMinimum, want.BlockMaximum = 1, nbd.MaxRequest
			if got.Protocol != "newstyle-fixed" || !got.Structured {
				t.Errorf("protocol %q, structured %v", got.Protocol, got.Structured)
			}
			if len(got.Exports) != 1 || fmt.Sprintf("%+v", got.Exports[0]) != fmt.Sprintf("%+v", want) {
				t.Errorf("got  %+v\nwant %+v", got.Exports, want)
			}
			if list := run(t, "nbdinfo", "--list", "nbd+unix://?socket="+socket); !strings.Contains(list, `"root"`) {
				t.Errorf("list: %s", list)
			}
		})
	}
}

func TestNbdcopyRoundTrip(t *testing.T) {
	const size = 8<<20 + 512
	from, to := newMemory(size).fill(0, 5000).fill(3<<20, 2<<20).fill(size-700, 700), newMemory(size).fill(100, 1<<20)
	_, a := serve(t, "", readOnly{from}, nbd.Options{})
	s, b := serve(t, "", to, nbd.Options{MaxRequests: 3})
	run(t, "nbdcopy", "--connections=4", "--requests=16", "--flush", "nbd+unix://?socket="+a, "nbd+unix://?socket="+b)
	got, _, flushes := to.state()
	if want, _, _ := from.state(); !bytes.Equal(got, want) {
		t.Error("copy differs")
	}
	if flushes == 0 {
		t.Error("never flushed")
	}
	if st := s.Stats(); st.Errors != 0 || st.WrittenBytes != size || st.Connections == 0 {
		t.Errorf("stats %+v", st)
	}
}

func TestQemuIO(t *testing.T) {
	m := newMemory(1 << 20)
	_, socket := serve(t, "root", m, nbd.Options{})
	out := run(t, "qemu-io", "-f", "raw", "nbd+unix:///root?socket="+socket,
		"-c", "write -P 0x11 0 64k", "-c", "write -f -P 0x22 65537 3", "-c", "read -P 0x11 1000 5000",
		"-c", "read -P 0x22 65537 3", "-c", "write -z 4k 8k", "-c", "read -P 0 4k 8k", "-c", "write -z -u 32k 8k",
		"-c", "discard 16k 4k", "-c", "read -P 0 16k 4k", "-c", "aio_write -P 0x33 128k 512k", "-c", "aio_flush",
		"-c", "read -P 0x33 128k 512k", "-c", "flush", "-c", "map")
	if strings.Contains(out, "failed") {
		t.Error(out)
	}
	_, holes, _ := m.state()
	if holes[1] || holes[2] || !holes[8] || !holes[9] || !holes[4] || holes[5] {
		t.Errorf("holes %v", holes[:12])
	}
}

func TestQemuImg(t *testing.T) {
	const size = 1 << 20
	m := newMemory(size).fill(0, 4096).fill(512<<10, 64<<10)
	s, socket := serve(t, "root", readOnly{m}, nbd.Options{})
	file := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(file, m.data, 0o600); err != nil {
		t.Fatal(err)
	}
	url := "nbd+unix:///root?socket=" + socket
	run(t, "qemu-img", "compare", "-f", "raw", "-F", "raw", url, file)
	if st := s.Stats(); st.DistinctBytes > size {
		t.Errorf("stats %+v", st)
	}

	_, socket = serve(t, "root", m, nbd.Options{})
	url = "nbd+unix:///root?socket=" + socket
	type extent struct {
		Start, Length int64
		Zero, Data    bool
	}
	var got []extent
	out := run(t, "qemu-img", "map", "--output=json", "-f", "raw", url)
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	want := []extent{{0, 4096, false, true}, {4096, 508 << 10, true, false}, {512 << 10, 64 << 10, false, true}, {576 << 10, 448 << 10, true, false}}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("map %v, want %v", got, want)
	}
}
