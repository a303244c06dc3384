package nbd_test

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"satchel/vmm/nbd"
)

// A promptly is a memory that need not wait, but for each third block.
type promptly struct {
	*memory
	done atomic.Int64 // requests that it did without waiting
}

func (p *promptly) TryReadAt(b []byte, off int64) bool {
	return p.try(off, func() (int, error) { return p.ReadAt(b, off) })
}

func (p *promptly) TryWriteAt(b []byte, off int64) bool {
	return p.try(off, func() (int, error) { return p.WriteAt(b, off) })
}

func (p *promptly) try(off int64, do func() (int, error)) bool {
	if off/block%3 == 0 {
		return false
	}
	_, err := do()
	if err == nil {
		p.done.Add(1)
	}
	return err == nil
}

// dialSocket connects over a real socket, and enters transmission.
func dialSocket(t *testing.T, e nbd.Export, opt nbd.Options, structured bool) *client {
	t.Helper()
	_, socket := serve(t, "", e, opt)
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(30 * time.Second)) // so that a fault is no hang
	c := &client{t, conn}
	c.read(18)
	c.write(be(uint32(3)))
	return c.goNow(structured)
}

// TestPromptRequests sends many small requests at once: each is done and answered
// once, whether or not it could be done without waiting, and those that fail do so
// alone.
func TestPromptRequests(t *testing.T) {
	const blocks, bad = 300, 100
	for _, limit := range []int{1, 16} {
		m := &promptly{memory: newMemory(blocks*block).fill(0, blocks*block)}
		m.bad = bad * block
		want, _, _ := m.state()
		c := dialSocket(t, m, nbd.Options{MaxRequests: limit}, true)
		var all []byte
		for i := range uint64(blocks) { // a block each, every other one is written
			kind, data := uint16(read), []byte(nil)
			if i%2 == 1 {
				kind, data = write, bytes.Repeat([]byte{byte(i)}, block)
			}
			all = append(all, be(uint32(0x25609513), uint16(0), kind, i, i*block, uint32(block), data)...)
		}
		go c.write(all)
		failed := 0
		for range blocks {
			got := c.reply(0)
			i := got[0].cookie
			switch {
			case got[0].errno != 0:
				if failed++; i != bad {
					t.Errorf("request %d failed", i)
				}
			case i%2 == 1:
				copy(want[i*block:], bytes.Repeat([]byte{byte(i)}, block))
			case !bytes.Equal(got[0].data, want[i*block:(i+1)*block]):
				t.Errorf("request %d read something else", i)
			}
		}
		if data, _, _ := m.state(); !bytes.Equal(data, want) || failed != 1 {
			t.Errorf("limit %d: %d failed, or something else was written", limit, failed)
		}
		if n := m.done.Load(); n != blocks*2/3-1 {
			t.Errorf("%d requests were done without waiting", n)
		}
	}
}

// TestLargeWrites: of a write that is done as it arrives, the rest is done
// otherwise from where it takes a while or fails.
func TestLargeWrites(t *testing.T) {
	const size = 1 << 20
	m := &promptly{memory: newMemory(4 * size)}
	c := dialSocket(t, m, nbd.Options{}, true)
	want, _, _ := m.state()
	for i, tt := range []struct {
		off, n int
		bad    int64
		errno  uint32
	}{
		{0, size, -1, 0},
		{size + 100, size, -1, 0}, // of pieces some take a while
		{block, 300 << 10, -1, 0},
		{5 * block, size, 700 << 10, eio},
		{2 * size, size, -1, 0},
	} {
		m.bad = tt.bad
		data := bytes.Repeat([]byte{byte(i + 1)}, tt.n)
		c.failsWith(tt.errno, 0, write, uint64(tt.off), uint32(tt.n), data...)
		got, _, _ := m.state()
		if tt.errno != 0 { // what failed may have been done in part
			copy(want, got)
			continue
		}
		copy(want[tt.off:], data)
		if !bytes.Equal(got, want) {
			t.Errorf("write %d wrote something else", i)
		}
	}
	if m.done.Load() == 0 {
		t.Error("none was done as it arrived")
	}
}

// A filed is a memory whose every other MiB lies in a file too.
type filed struct {
	*promptly
	file *os.File
	sent atomic.Int64 // ranges that were sent from it
}

func newFiled(t *testing.T, size int) *filed {
	t.Helper()
	f := &filed{promptly: &promptly{memory: newMemory(size).fill(0, size)}}
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, f.data, 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	if f.file, err = os.OpenFile(name, os.O_RDWR, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.file.Close() })
	return f
}

func (f *filed) InFile(off, _ int64) *os.File {
	if off>>20%2 == 1 {
		return nil
	}
	f.sent.Add(1)
	return f.file
}

// TestClientThatReadsLate: replies that nobody takes hold up no request, and come
// whole in the end, those from memory and those from a file.
func TestClientThatReadsLate(t *testing.T) {
	const reads, size = 40, 1 << 20
	m := newFiled(t, reads*size)
	c := dialSocket(t, m, nbd.Options{MaxRequests: 64}, true)
	want, _, _ := m.state()
	for i := range uint64(reads) {
		c.ask(i, 0, read, i*size, size)
	}
	c.ask(reads, 0, write, block, 1, want[block]+1)
	for {
		if data, _, _ := m.state(); data[block] != want[block] {
			break
		}
		time.Sleep(time.Millisecond)
	}
	for range reads + 1 {
		got := c.reply(0)
		if i := got[0].cookie; i > 0 && i < reads && !bytes.Equal(got[0].data, want[i*size:(i+1)*size]) {
			t.Errorf("read %d brought something else", i)
		}
	}
	if n := m.sent.Load(); n != reads/2 {
		t.Errorf("%d reads came from the file, want %d", n, reads/2)
	}
}

// TestFileThatEnds: a file that lacks what its export promised ends the
// connection, since the reply has begun.
func TestFileThatEnds(t *testing.T) {
	const size = 1 << 20
	m := newFiled(t, size)
	if err := m.file.Truncate(size / 2); err != nil {
		t.Fatal(err)
	}
	c := dialSocket(t, m, nbd.Options{}, true)
	c.ask(1, 0, read, 0, size)
	c.read(28 + size/2) // the head of a chunk, and what there was
	c.closed()
}
