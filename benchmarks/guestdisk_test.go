package benchmarks

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"satchel/vmm/agent"
	"satchel/vmm/delta"
	"satchel/vmm/nbd"
	"satchel/vmm/qemu"
)

// BenchmarkGuestDisk has fio read and write two disks inside of one guest, in
// turn: ours, an overlay over a disk in a store, and qemu-nbd's, a qcow2 over
// the same disk as a raw file. Both are attached as sessions attach a disk. In
// each round every job is done on both, on a part of the disk that no round
// before has touched; reported are the medians, and that of the rounds' ratios.
func BenchmarkGuestDisk(b *testing.B) {
	for _, tool := range []string{"fio", "ldd", "qemu-nbd", "qemu-img", "qemu-system-x86_64"} {
		if _, err := exec.LookPath(tool); err != nil {
			b.Skipf("needs %s", tool)
		}
	}
	v := newBootable(b)
	raw := noisyDisk(b, 1<<20)
	st, tree := importDisk(b, raw)
	sockets := []string{serveOverlay(b, raw, st, tree), serveQemu(b, raw)}
	stop := v.serve(b)
	defer stop()
	g := v.withDisks(b, sockets)
	copyFio(b, g)
	syscall.Sync() // what was written to get here is not to be waited for in the first round
	rates := map[guestJob][]float64{}
	for b.Loop() {
		for round := range guestRounds {
			for job, rate := range runGuestJobs(b, g, round) {
				rates[job] = append(rates[job], rate)
			}
		}
	}
	for _, kind := range guestJobs {
		ours, theirs := rates[guestJob{kind.name, 0}], rates[guestJob{kind.name, 1}]
		ratios := make([]float64, len(ours))
		for i := range ours {
			ratios[i] = ours[i] / theirs[i]
		}
		b.Logf("%-22s ours %.1f, theirs %.1f MB/s", kind.name, ours, theirs)
		b.ReportMetric(median(ours), kind.name+"-MB/s")
		b.ReportMetric(median(theirs), kind.name+"-qemu-nbd-MB/s")
		b.ReportMetric(median(ratios), kind.name+"-ratio")
	}
	b.ReportMetric(0, "ns/op")
}

// guestRounds is how often each job is done, each time on another part: there
// are as many parts as fit on the disk.
const (
	guestRounds = 16
	guestPart   = 32 << 20 // bytes
)

// guestJobs are what fio does in a round, in order. Each has one of the two
// parts of its round.
var guestJobs = []struct {
	name, rw, size string
	part           int64
	flush          int // writes from one flush to the next; 0: none
}{
	{"randread-4k-first", "randread", "4k", 0, 0}, // nothing was read before
	{"randread-4k", "randread", "4k", 0, 0},
	{"read-1m", "read", "1m", 1, 0},
	{"randwrite-4k-first", "randwrite", "4k", 0, 64}, // nothing was written before
	{"write-1m", "write", "1m", 1, 16},
	{"write-1m-unflushed", "write", "1m", 1, 0},
	{"randwrite-4k-again", "randwrite", "4k", 1, 64}, // all was written before
	{"randwrite-4k-unflushed", "randwrite", "4k", 1, 0},
}

// A guestJob is a job on one of the disks.
type guestJob struct {
	name string
	disk int // 0: ours
}

// runGuestJobs runs the jobs of a round and returns MB/s.
func runGuestJobs(b *testing.B, g *agent.Client, round int) map[guestJob]float64 {
	b.Helper()
	var file strings.Builder
	fmt.Fprintf(&file, "[global]\nioengine=libaio\ndirect=1\niodepth=16\ntime_based\nruntime=700ms\nrandrepeat=1\nsize=%d\n", guestPart)
	// While the first job runs, fio still makes the processes of all others, for
	// up to two seconds.
	file.WriteString("[warm-up]\nruntime=3s\nfilename=/dev/disk/by-id/virtio-root\nrw=randread\nbs=4k\n")
	var order []guestJob
	for _, job := range guestJobs {
		for i := range 2 {
			disk := (i + round) % 2 // who is first changes
			order = append(order, guestJob{job.name, disk})
			fmt.Fprintf(&file, "[%s-%d]\nstonewall\nfilename=/dev/disk/by-id/virtio-%s\nrw=%s\nbs=%s\noffset=%d\n",
				job.name, disk, guestDisks[disk], job.rw, job.size, (2*int64(round)+job.part)*guestPart)
			if job.flush > 0 {
				fmt.Fprintf(&file, "fsync=%d\n", job.flush)
			}
		}
	}
	var out, complaints bytes.Buffer
	code, err := g.Exec(b.Context(), agent.ExecRequest{
		Argv:  []string{"/opt/fio/ld.so", "--library-path", "/opt/fio", "/opt/fio/fio", "--output-format=json", "-"},
		Stdin: strings.NewReader(file.String()), Stdout: &out, Stderr: &complaints,
	})
	if err != nil || code != 0 {
		b.Fatalf("fio in the guest: %v, code %d\n%s%s", err, code, &out, &complaints)
	}
	rates := map[guestJob]float64{}
	for i, rate := range fioRates(b, out.Bytes(), 1+len(order))[1:] {
		rates[order[i]] = rate / 1e6
	}
	return rates
}

// guestDisks are the serial numbers of the two disks.
var guestDisks = []string{"ours", "theirs"}

// withDisks boots the guest with two more disks, and returns its agent when it
// is up.
func (v *bootable) withDisks(b *testing.B, sockets []string) *agent.Client {
	b.Helper()
	if err := delta.Create(b.Context(), v.at("delta"), 1<<30); err != nil {
		b.Fatal(err)
	}
	args := qemu.Args(qemu.Config{
		Memory: 1 << 30, CPUs: 1, Kernel: v.at("kernel"), Initrd: v.at("initrd"), KernelArgs: v.args,
		Root: v.at("nbd.sock"), Delta: v.at("delta"), Agent: qemu.Socket(v.at("agent.sock")), Console: qemu.Console{Log: v.at("console")},
	})
	var inherited []*os.File
	for i, socket := range sockets {
		conn, err := nbd.Dial(socket)
		if err != nil {
			b.Fatal(err)
		}
		defer conn.Close()
		inherited = append(inherited, conn)
		disk := qemu.Args(qemu.Config{Disk: qemu.Disk{Socket: socket}})
		at := slices.IndexFunc(disk, func(arg string) bool { return strings.HasPrefix(arg, "driver=nbd,") })
		name := guestDisks[i]
		// Both are inherited, behind the monitor.
		change := strings.NewReplacer("node-name=disk", "node-name="+name, "server.str=4", fmt.Sprintf("server.str=%d", 4+i),
			"drive=disk,bootindex=1", "drive="+name+",serial="+name)
		for _, arg := range disk[at-1 : at+3] {
			args = append(args, change.Replace(arg))
		}
	}
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	near, far := os.NewFile(uintptr(pair[0]), "near"), os.NewFile(uintptr(pair[1]), "far")
	cmd := exec.Command("qemu-system-x86_64", args...)
	cmd.ExtraFiles, cmd.Stderr = append([]*os.File{far}, inherited...), os.Stderr // the monitor that the arguments name, and the disks
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	far.Close()
	b.Cleanup(func() { cmd.Process.Kill(); cmd.Wait(); near.Close() })
	return dialGuest(b, v.at("agent.sock"))
}

func dialGuest(b *testing.B, socket string) *agent.Client {
	b.Helper()
	var conn net.Conn
	var err error
	for range 100 {
		if conn, err = net.Dial("unix", socket); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err != nil {
		b.Fatal(err)
	}
	g := agent.NewClient(conn)
	b.Cleanup(func() { g.Close() })
	ctx, cancel := context.WithTimeout(b.Context(), 3*time.Minute)
	defer cancel()
	if _, err := g.Hello(ctx); err != nil {
		b.Fatal(err)
	}
	if err := g.Ready(ctx); err != nil {
		b.Fatal(err)
	}
	return g
}

// copyFio brings the host's fio, and all that it is linked to, into the guest.
func copyFio(b *testing.B, g *agent.Client) {
	b.Helper()
	fio, err := exec.LookPath("fio")
	if err != nil {
		b.Fatal(err)
	}
	out, err := exec.Command("ldd", fio).Output()
	if err != nil {
		b.Fatal(err)
	}
	files := map[string]string{"fio": fio}
	for line := range strings.Lines(string(out)) {
		for _, word := range strings.Fields(line) {
			if name := filepath.Base(word); strings.HasPrefix(name, "ld-linux") {
				files["ld.so"] = word
			} else if filepath.IsAbs(word) {
				files[name] = word
			}
		}
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(writeTar(w, files)) }()
	var complaints bytes.Buffer
	code, err := g.Exec(b.Context(), agent.ExecRequest{
		Argv: []string{"sh", "-c", "mkdir -p /opt/fio && tar -x -C /opt/fio"}, Stdin: r, Stderr: &complaints,
	})
	if err != nil || code != 0 {
		b.Fatalf("copy fio into the guest: %v, code %d\n%s", err, code, &complaints)
	}
}

func writeTar(w io.Writer, files map[string]string) error {
	out := tar.NewWriter(w)
	for name, file := range files {
		content, err := os.ReadFile(file)
		if err == nil {
			err = out.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(content))})
		}
		if err == nil {
			_, err = out.Write(content)
		}
		if err != nil {
			return errors.Join(err, out.Close())
		}
	}
	return out.Close()
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// fioRates reads how many bytes a second each job of fio moved.
func fioRates(b *testing.B, out []byte, jobs int) (rates []float64) {
	b.Helper()
	var result struct {
		Jobs []struct {
			Read, Write struct {
				Bytes   float64 `json:"io_bytes"`
				Runtime float64 `json:"runtime"` // ms
			}
		} `json:"jobs"`
	}
	// It says what it thinks of its options first.
	if err := json.Unmarshal(out[max(bytes.IndexByte(out, '{'), 0):], &result); err != nil || len(result.Jobs) != jobs {
		b.Fatalf("fio says %s, error %v", out, err)
	}
	for _, r := range result.Jobs {
		rates = append(rates, (r.Read.Bytes+r.Write.Bytes)/max(r.Read.Runtime, r.Write.Runtime)*1000)
	}
	return rates
}
