package benchmarks

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"satchel/layers"
	"satchel/layers/diskimage"
	"satchel/layers/ingest"
	"satchel/store"
	"satchel/vmm/nbd"
	"satchel/vmm/overlay"
)

// BenchmarkOverlay has fio read and write a disk over NBD: ours, an overlay over
// a disk in a store, and qemu-nbd's, a qcow2 over the same disk as a raw file.
// $SATCHEL_DISK names the raw file; without it one of noise and holes is made.
// Each job is run on fresh overlays, and one after the other on both.
func BenchmarkOverlay(b *testing.B) {
	for _, tool := range []string{"fio", "qemu-nbd", "qemu-img"} {
		if _, err := exec.LookPath(tool); err != nil {
			b.Skipf("needs %s", tool)
		}
	}
	raw := os.Getenv("SATCHEL_DISK")
	if raw == "" {
		raw = noisyDisk(b, 2<<20)
	}
	st, tree := importDisk(b, raw)
	for _, job := range []string{"read-1m", "write-1m", "randread-4k", "randwrite-4k"} {
		for _, peer := range []string{"satchel", "qemu-nbd"} {
			b.Run(job+"/"+peer, func(b *testing.B) {
				serve := serveOverlay
				if peer == "qemu-nbd" {
					serve = func(b *testing.B, _ string, _ store.Getter, _ layers.Tree) string { return serveQemu(b, raw) }
				}
				var rate float64
				for range b.N {
					rate += fio(b, serve(b, raw, st, tree), job)
				}
				b.ReportMetric(rate/float64(b.N)/1e6, "MB/s")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// noisyDisk writes a disk of 1 GiB with a MiB of noise every so many bytes.
func noisyDisk(b *testing.B, every int64) string {
	b.Helper()
	file := filepath.Join(b.TempDir(), "raw")
	f, err := os.Create(file)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	r := rand.NewChaCha8([32]byte{1})
	block := make([]byte, 1<<20)
	for at := int64(0); at < 1<<30; at += every {
		r.Read(block) //nolint:errcheck // never fails
		if _, err := f.WriteAt(block, at); err != nil {
			b.Fatal(err)
		}
	}
	if err := f.Truncate(1 << 30); err != nil {
		b.Fatal(err)
	}
	return file
}

func importDisk(b *testing.B, raw string) (store.Getter, layers.Tree) {
	b.Helper()
	st := newStore(b)
	w, err := st.Begin(b.Context(), "benchmark")
	if err != nil {
		b.Fatal(err)
	}
	tree, err := diskimage.Import(b.Context(), raw, diskimage.Raw, b.TempDir(), ingest.New(b.Context(), w, st.Domain()))
	if err != nil {
		b.Fatal(err)
	}
	if err := w.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	return st, tree
}

// serveOverlay serves a disk as a session does, and returns its socket.
func serveOverlay(b *testing.B, _ string, st store.Getter, tree layers.Tree) string {
	b.Helper()
	dir := b.TempDir()
	lower, err := diskimage.Open(st, tree)
	if err != nil {
		b.Fatal(err)
	}
	data := filepath.Join(dir, "overlay")
	if err := overlay.Create(data, overlay.Base{Size: lower.Size()}); err != nil {
		b.Fatal(err)
	}
	cached, err := overlay.NewCache(lower, dir)
	if err != nil {
		b.Fatal(err)
	}
	d, err := overlay.Open(data, cached, store.ID{})
	if err != nil {
		b.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(b.Context()))
	done := make(chan error, 1)
	go func() { done <- nbd.NewServer("", d, nbd.Options{MaxRequests: 64}).Serve(ctx, l) }()
	b.Cleanup(func() {
		cancel()
		<-done
		d.Close()
		cached.Close()
	})
	return socket
}

// serveQemu serves a qcow2 over the raw file.
func serveQemu(b *testing.B, raw string) string {
	b.Helper()
	dir := b.TempDir()
	over, socket := filepath.Join(dir, "qcow2"), filepath.Join(dir, "s")
	if out, err := exec.CommandContext(b.Context(), "qemu-img", "create", "-q", "-f", "qcow2", "-b", raw, "-F", "raw", over).CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	server := exec.Command("qemu-nbd", "--format=qcow2", "--cache=writeback", "--aio=threads", "--discard=unmap", "--shared=8", "--persistent", "--socket="+socket, over)
	server.Stderr = os.Stderr
	if err := server.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		server.Process.Kill() //nolint:errcheck // it is waited for
		server.Wait()         //nolint:errcheck // it was killed
	})
	for range 100 {
		if conn, err := net.Dial("unix", socket); err == nil {
			conn.Close()
			return socket
		}
		time.Sleep(50 * time.Millisecond)
	}
	b.Fatal("qemu-nbd does not listen")
	return ""
}

// fio runs a job for 5 seconds and returns bytes a second. Writes are flushed
// every 64 of them, as a guest's journal does.
func fio(b *testing.B, socket, job string) float64 {
	b.Helper()
	kind, size, _ := strings.Cut(job, "-")
	args := []string{"--name=job", "--ioengine=nbd", "--uri=nbd+unix:///?socket=" + socket, "--rw=" + kind, "--bs=" + size,
		"--iodepth=16", "--size=512M", "--time_based", "--runtime=5", "--output-format=json", "--randrepeat=1", "--fsync=64"}
	if kind == "read" || kind == "write" {
		args[len(args)-1] = "--fsync=16"
	}
	cmd := exec.CommandContext(b.Context(), "fio", args...)
	cmd.Dir = b.TempDir()
	cmd.Stderr = io.Discard
	out, err := cmd.Output()
	if err != nil {
		b.Fatalf("fio: %v: %s", err, out)
	}
	return fioRates(b, out, 1)[0]
}
