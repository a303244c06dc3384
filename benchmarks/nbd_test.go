package benchmarks

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"testing"

	"satchel/vmm/nbd"
)

// A ramDisk costs nothing to read, so that the server's own cost is measured.
type ramDisk []byte

func (d ramDisk) Size() int64 { return int64(len(d)) }

func (d ramDisk) ReadAt(b []byte, off int64) (int, error) { return copy(b, d[off:]), nil }

// BenchmarkNBD reads from a block server over a unix socket, as a guest's disk
// driver does: 16 requests in flight on one connection.
func BenchmarkNBD(b *testing.B) {
	const size = 256 << 20
	disk := make(ramDisk, size)
	b.Run("sequential-256KiB", func(b *testing.B) {
		const length = 256 << 10
		off := uint64(0)
		benchmarkReads(b, disk, length, func() uint64 {
			off = (off + length) % size
			return off
		})
	})
	b.Run("random-4KiB", func(b *testing.B) {
		const length = 4 << 10
		rnd := rand.New(rand.NewPCG(1, 2))
		benchmarkReads(b, disk, length, func() uint64 { return rnd.Uint64N(size/length) * length })
	})
}

func benchmarkReads(b *testing.B, e nbd.Export, length int, next func() uint64) {
	const depth = 16
	conn := nbdConnect(b, e)
	b.SetBytes(int64(length))
	b.ReportAllocs()
	in, out := bufio.NewReaderSize(conn, 1<<20), make(chan struct{}, depth)
	replies := make(chan error, 1)
	n := b.N
	b.ResetTimer()
	go func() {
		for range n {
			if _, err := in.Discard(16 + length); err != nil {
				replies <- err
				return
			}
			<-out
		}
		replies <- nil
	}()
	for i := range n {
		out <- struct{}{}
		req := binary.BigEndian.AppendUint64(nil, 0x25609513<<32) // magic, no flags, read
		req = binary.BigEndian.AppendUint64(req, uint64(i))
		req = binary.BigEndian.AppendUint64(req, next())
		if _, err := conn.Write(binary.BigEndian.AppendUint32(req, uint32(length))); err != nil {
			b.Fatal(err)
		}
	}
	if err := <-replies; err != nil {
		b.Fatal(err)
	}
}

// nbdConnect serves an export until the benchmark ends, and connects to it with
// the oldest option, which needs no more than one round trip.
func nbdConnect(b *testing.B, e nbd.Export) net.Conn {
	b.Helper()
	l, err := net.Listen("unix", filepath.Join(b.TempDir(), "s"))
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- nbd.NewServer("", e, nbd.Options{}).Serve(ctx, l) }()
	b.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
	conn, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	hello := append([]byte{0, 0, 0, 3}, "IHAVEOPT\x00\x00\x00\x01\x00\x00\x00\x00"...)
	if _, err := conn.Write(hello); err != nil {
		b.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, conn, 18+10); err != nil {
		b.Fatal(err)
	}
	return conn
}
