package session

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"satchel/layers/repo"
	"satchel/layers/workspace"
	"satchel/store/disk"
	"satchel/vmm/initramfs"
	"satchel/vmm/session/scribble"
)

// scribbleEnv names the step at which the process that runs the guest is to kill
// itself, if any, and the home; killsEnv says how often others kill it.
const (
	scribbleEnv = "SATCHEL_TEST_SCRIBBLE"
	killsEnv    = "SATCHEL_TEST_KILLS"
)

// TestDiskKilledWithItsSupervisor has a guest write to a disk of 8 GiB and flush
// it, and kills QEMU and the process that serves the disk, both, at a random
// moment, $SATCHEL_TEST_KILLS times. What the guest was told was flushed is in
// the version that the next start captures, and in each later one; what it was
// not told is there or is as it was before, by the block.
func TestDiskKilledWithItsSupervisor(t *testing.T) {
	h := newHouse(t)
	h.importDisk("scribbler", scribbleDisk(t))
	kills := 2
	if n, err := strconv.Atoi(os.Getenv(killsEnv)); err == nil {
		kills = n
	}
	may := mayHold{}
	for kill := range kills {
		h.killScribbler(t)
		run, flushed := h.lastFlush(t)
		may.write(run, flushed)
		got, err := h.Settle(t.Context(), "ana", nil)
		must(t, err)
		if got == nil { // it was killed after all that it had to do when QEMU was gone
			t.Logf("kill %d: it had been captured", kill)
		} else if len(got.Layers) != 1 {
			t.Errorf("kill %d: flushed %d writes, captured %+v", kill, flushed, got)
		}
		if left := slices.DeleteFunc(h.left(), func(name string) bool { return !strings.HasPrefix(name, overlayFile) && name != "session.json" }); len(left) > 0 {
			t.Errorf("kill %d: the capture left %q", kill, left)
		}
		blocks := h.compare(t, may)
		t.Logf("kill %d: %d writes flushed, %d blocks are as they should be", kill, flushed, blocks)
	}
}

// scribbler is how the guest is run.
var scribbler = Options{Memory: 256 << 20, CPUs: 1}

// TestScribblerRuns is the process that is killed: by others, or by itself at a
// step of a suspension.
func TestScribblerRuns(t *testing.T) {
	step, home, ok := strings.Cut(os.Getenv(scribbleEnv), " ")
	if !ok {
		t.Skip("runs as a process of other tests")
	}
	st, err := disk.Open(filepath.Join(home, "store"))
	must(t, err)
	h := &Host{Home: home, Store: st, Repo: repo.New(st, "test"), Workspaces: workspace.Open(home), Note: t.Logf}
	s, _, err := h.Start(t.Context(), "ana", scribbler)
	must(t, err)
	if step != "" {
		h.step = func(name string) {
			if name == step {
				syscall.Kill(os.Getpid(), syscall.SIGKILL) //nolint:errcheck // nothing comes after it
				select {}
			}
		}
		_, err := s.Suspend(t.Context())
		t.Fatal("there is no step", step, err)
	}
	_, err = s.Wait(t.Context())
	t.Fatal("the guest has ended, error", err)
}

// killScribbler starts the guest, waits until it writes, and a random while
// more, and kills both processes, one before the other.
func (h *house) killScribbler(t *testing.T) {
	t.Helper()
	must(t, os.WriteFile(h.consoleOf("ana"), nil, 0o600))
	cmd := h.scribblerProcess("")
	must(t, cmd.Start())
	defer func() { cmd.Process.Kill(); cmd.Wait() }() //nolint:errcheck // it is dead by then
	h.awaitFlush(t, 0)
	machine := childOf(t, cmd.Process.Pid)
	time.Sleep(rand.N(1500 * time.Millisecond)) // the moment
	pids := []int{cmd.Process.Pid, machine}
	rand.Shuffle(2, func(i, j int) { pids[i], pids[j] = pids[j], pids[i] })
	must(t, syscall.Kill(pids[0], syscall.SIGKILL))
	if rand.N(2) == 0 { // time for the other one to notice
		time.Sleep(rand.N(30 * time.Millisecond))
	}
	syscall.Kill(pids[1], syscall.SIGKILL) //nolint:errcheck // it may have died of the first
	for deadline := time.Now().Add(guestTimeout); alive(machine); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("QEMU has outlived its supervisor")
		}
	}
}

// scribblerProcess runs the guest in a process that kills itself at a step.
func (h *house) scribblerProcess(step string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], "-test.run=^TestScribblerRuns$", "-test.v")
	cmd.Env = append(os.Environ(), scribbleEnv+"="+step+" "+h.Home)
	return cmd
}

// awaitFlush waits until the guest has said that it has flushed something after
// its n-th write.
func (h *house) awaitFlush(t *testing.T, n uint64) {
	t.Helper()
	for deadline := time.Now().Add(guestTimeout); ; time.Sleep(10 * time.Millisecond) {
		if _, m := h.lastFlush(t); m > n {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the guest does not write")
		}
	}
}

// alive reports whether a process runs, and is more than what its parent has not
// waited for.
func alive(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, state, _ := bytes.Cut(b, []byte(") "))
	return !bytes.HasPrefix(state, []byte("Z"))
}

func (h *house) consoleOf(name string) string {
	return filepath.Join(h.Workspaces.Dir(name), "console.log")
}

// lastFlush is what the guest has said last.
func (h *house) lastFlush(t *testing.T) (run, n uint64) {
	t.Helper()
	b, err := os.ReadFile(h.consoleOf("ana"))
	if !errors.Is(err, fs.ErrNotExist) {
		must(t, err)
	}
	for line := range bytes.Lines(b) {
		if i := bytes.Index(line, []byte("flushed ")); i >= 0 && bytes.HasSuffix(line, []byte("\n")) {
			if r, m, ok := scribble.Flushed(string(line[i:])); ok {
				run, n = r, m
			}
		}
	}
	return run, n
}

// A mayHold tells what each block of the disk may hold, by its offset: what its
// first 8 bytes say, the newest last.
type mayHold map[int64][]uint64

// write takes in what a run did that was flushed up to a write: it may have
// written some more.
func (m mayHold) write(run, flushed uint64) {
	for n := uint64(1); n <= flushed+3*scribble.Flush; n++ {
		w := scribble.At(run, n)
		for i := 0; i < len(w.Data); i += scribble.Block {
			at := w.Off + int64(i)
			if n <= flushed {
				m[at] = m[at][:0]
			} else if len(m[at]) == 0 {
				m[at] = append(m[at], 0) // as it was made
			}
			m[at] = append(m[at], binary.LittleEndian.Uint64(w.Data[i:]))
		}
	}
}

// compare reads all those blocks of the workspace's disk, and from then on each
// is what it is.
func (h *house) compare(t *testing.T, may mayHold) int {
	t.Helper()
	def, err := h.Workspaces.Load("ana")
	must(t, err)
	versions, err := h.current(t.Context(), def)
	must(t, err)
	d, err := h.diskOf(t.Context(), versions)
	must(t, err)
	lower, _, err := h.openDisk(t.Context(), d)
	must(t, err)
	b := make([]byte, scribble.Block)
	for at, tags := range may {
		_, err := lower.ReadAt(b, at)
		must(t, err)
		tag := binary.LittleEndian.Uint64(b)
		if !slices.Contains(tags, tag) || !bytes.Equal(b, bytes.Repeat(b[:8], len(b)/8)) {
			t.Fatalf("the block at %d says %x, want one of %x", at, tag, tags)
		}
		may[at] = append(tags[:0], tag)
	}
	return len(may)
}

// scribbleDisk makes a disk of 8 GiB that boots a guest which does nothing but
// scribble on it.
func scribbleDisk(t *testing.T) string {
	t.Helper()
	tar := filepath.Join(os.Getenv("SATCHEL_TEST_GUESTS"), "os-v1.tar")
	if _, err := os.Stat(tar); os.Getenv("SATCHEL_TEST_GUESTS") == "" || err != nil {
		t.Skip("needs SATCHEL_TEST_GUESTS (make guests)")
	}
	t.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin")
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	sh := func(script string) {
		t.Helper()
		cmd := exec.Command("bash", "-euc", script, "bash", tar)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	sh(`mkdir root; tar -xf "$1" -C root --wildcards './boot/vmlinuz-*' './usr/lib/modules' './usr/lib/systemd/systemd'`)
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", at("init"), "satchel/vmm/session/testdata/scribbler")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the scribbler: %v\n%s", err, out)
	}
	init, err := os.ReadFile(at("init"))
	must(t, err)
	var initrd bytes.Buffer
	_, err = initramfs.Build(&initrd, os.DirFS(at("root")), init, initramfs.Options{})
	must(t, err)
	must(t, os.WriteFile(at("initrd"), initrd.Bytes(), 0o600))
	must(t, os.WriteFile(at("entry"), []byte("linux /vmlinuz\ninitrd /initrd\n"+
		"options console=ttyS0 panic=-1 quiet loglevel=3 mitigations=off tsc=reliable no_timer_check\n"), 0o600))
	sh(`truncate -s 8G disk
		printf 'label: gpt\nstart=2048, size=131072, type=uefi\n' | sfdisk -q disk
		truncate -s 64M fat
		mformat -i fat -F -v ESP ::
		mmd -i fat ::/EFI ::/EFI/BOOT ::/loader ::/loader/entries
		mcopy -i fat /usr/lib/systemd/boot/efi/systemd-bootx64.efi ::/EFI/BOOT/BOOTX64.EFI
		mcopy -i fat root/boot/vmlinuz-* ::/vmlinuz
		mcopy -i fat initrd ::/initrd
		mcopy -i fat entry ::/loader/entries/linux.conf
		dd if=fat of=disk bs=1M seek=1 conv=notrunc,sparse status=none`)
	return at("disk")
}
