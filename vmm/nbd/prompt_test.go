package nbd_test

import (
	"bytes"
	"net"
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

// TestClientThatReadsLate: replies that nobody takes hold up no request, and come
// whole in the end.
func TestClientThatReadsLate(t *testing.T) {
	const reads, size = 40, 1 << 20
	m := &promptly{memory: newMemory(reads*size).fill(0, reads*size)}
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
}
