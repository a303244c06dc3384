package diskimage_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"satchel/layers"
	"satchel/layers/diskimage"
	"satchel/layers/ingest"
	"satchel/layers/layerstest"
	"satchel/layers/treefs"
)

// aDisk writes a raw image of n bytes with a partition table, some data and
// many holes.
func aDisk(t *testing.T, n int64) (file string, data []byte) {
	data = make([]byte, n)
	r := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		at := r.Int64N(n-9000) / 512 * 512
		for i := range 8192 {
			data[at+int64(i)] = byte(r.Uint32())
		}
	}
	copy(data[446:], []byte{0x80, 0, 0, 0, 0x83, 0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0})
	copy(data[510:], []byte{0x55, 0xaa})
	clear(data[462:510])
	file = filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file, data
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", name, err, out)
	}
}

func needQemuImg(t *testing.T) {
	if _, err := exec.LookPath("qemu-img"); err != nil {
		t.Skip("needs qemu-img")
	}
}

func load(t *testing.T, file string, format diskimage.Format) (*layerstest.Store, layers.Tree, error) {
	st := layerstest.NewStore()
	tree, err := diskimage.Import(t.Context(), file, format, t.TempDir(), ingest.New(t.Context(), st, st.Domain()))
	return st, tree, err
}

func TestImportOfEveryFormat(t *testing.T) {
	needQemuImg(t)
	raw, data := aDisk(t, 17<<20)
	for _, format := range diskimage.Formats {
		t.Run(string(format), func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "no-name-to-go-by")
			run(t, "qemu-img", "convert", "-f", "raw", "-O", string(format), raw, file)
			found, err := diskimage.Detect(file)
			if err != nil || found != format {
				t.Fatalf("found %q, error %v", found, err)
			}
			st, tree, err := load(t, file, found)
			if err != nil {
				t.Fatal(err)
			}
			e, err := tree.Disk()
			if err != nil {
				t.Fatal(err)
			}
			got := make([]byte, e.Size)
			if _, err := treefs.Open(t.Context(), st, e).ReadAt(got, 0); err != nil {
				t.Fatal(err)
			}
			// Some formats round a disk's size up.
			if len(got) < len(data) || !bytes.Equal(got[:len(data)], data) || len(bytes.Trim(got[len(data):], "\x00")) > 0 {
				t.Errorf("disk of %d bytes is not the one of %d", len(got), len(data))
			}
			if len(e.Extents) < 10 || len(st.IDs()) > 200 {
				t.Errorf("%d extents, %d chunks: holes were not kept", len(e.Extents), len(st.IDs()))
			}
		})
	}
}

func TestLastSectorIsFilledUp(t *testing.T) {
	file := filepath.Join(t.TempDir(), "odd")
	if err := os.WriteFile(file, bytes.Repeat([]byte{7}, 5000), 0o600); err != nil {
		t.Fatal(err)
	}
	_, tree, err := load(t, file, diskimage.Raw)
	if err != nil {
		t.Fatal(err)
	}
	if e, err := tree.Disk(); err != nil || e.Size != 5120 {
		t.Errorf("size %d, error %v", e.Size, err)
	}
}

// TestOtherFilesAreRefused: an image must not bring in what lies elsewhere.
func TestOtherFilesAreRefused(t *testing.T) {
	needQemuImg(t)
	raw, _ := aDisk(t, 17<<20)
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	run(t, "qemu-img", "create", "-q", "-f", "qcow2", "-b", raw, "-F", "raw", at("backed"))
	run(t, "qemu-img", "create", "-q", "-f", "qcow2", "-o", "data_file="+at("data"), at("outside"), "1M")
	text := "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\n" +
		"RW 34816 FLAT \"" + raw + "\" 0\n"
	if err := os.WriteFile(at("text"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"backed": "not whole without", "outside": "not whole without", "text": "not beside it"} {
		format, err := diskimage.Detect(at(name))
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err = load(t, at(name), format); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestWhatIsNoImage(t *testing.T) {
	file := filepath.Join(t.TempDir(), "text")
	for _, content := range []string{"", "hello", strings.Repeat("no disk ", 20_000)} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if format, err := diskimage.Detect(file); !errors.Is(err, diskimage.ErrUnknown) {
			t.Errorf("%.10q: found %q, error %v", content, format, err)
		}
	}
	if _, _, err := load(t, filepath.Join(t.TempDir(), "absent"), diskimage.Raw); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent: error %v", err)
	}
}

func TestFirmware(t *testing.T) {
	gpt := func(edit func(b []byte)) []byte {
		b := make([]byte, 1<<20)
		copy(b[512:], "EFI PART")
		b[512+72], b[512+80], b[512+84] = 2, 128, 128
		copy(b[1024+128:], []byte{0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b})
		edit(b)
		return b
	}
	for name, c := range map[string]struct {
		disk []byte
		want diskimage.Firmware
	}{
		"esp":                  {gpt(func([]byte) {}), diskimage.UEFI},
		"esp and boot code":    {gpt(func(b []byte) { b[3] = 0x90 }), diskimage.BIOS},
		"no esp":               {gpt(func(b []byte) { clear(b[1024:]) }), diskimage.BIOS},
		"too many partitions":  {gpt(func(b []byte) { b[512+83] = 0xff }), diskimage.BIOS},
		"entries of no length": {gpt(func(b []byte) { b[512+84] = 0 }), diskimage.BIOS},
		"entries far away":     {gpt(func(b []byte) { b[512+79] = 0xff }), diskimage.BIOS},
		"sectors of 4 KiB": {func() []byte {
			small := gpt(func([]byte) {})
			b := make([]byte, 1<<20)
			copy(b[4096:], small[512:1024])
			copy(b[8192:], small[1024:2048])
			return b
		}(), diskimage.UEFI},
		"nothing":  {make([]byte, 1<<20), diskimage.BIOS},
		"tiny":     {make([]byte, 512), diskimage.BIOS},
		"mbr only": {append([]byte{0xeb}, make([]byte, 1<<20)...), diskimage.BIOS},
	} {
		if got, err := diskimage.FirmwareOf(bytes.NewReader(c.disk)); err != nil || got != c.want {
			t.Errorf("%s: %s, error %v", name, got, err)
		}
	}
	bad := errors.New("bad sector")
	if _, err := diskimage.FirmwareOf(failing{bad}); !errors.Is(err, bad) {
		t.Errorf("error %v", err)
	}
}

type failing struct{ err error }

func (f failing) ReadAt([]byte, int64) (int, error) { return 0, f.err }

// FuzzFirmware: whatever lies on a disk, looking at it ends and is bounded.
func FuzzFirmware(f *testing.F) {
	f.Add([]byte("EFI PART"), uint32(128), uint32(128), uint64(2))
	f.Fuzz(func(t *testing.T, entries []byte, count, size uint32, at uint64) {
		b := make([]byte, 2048, 2048+len(entries))
		copy(b[512:], "EFI PART")
		for i := range 8 {
			b[512+72+i] = byte(at >> (8 * i))
		}
		for i := range 4 {
			b[512+80+i], b[512+84+i] = byte(count>>(8*i)), byte(size>>(8*i))
		}
		if _, err := diskimage.FirmwareOf(bytes.NewReader(append(b, entries...))); err != nil && !errors.Is(err, io.EOF) {
			t.Error(err)
		}
	})
}
