package nbd_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"satchel/vmm/nbd"
)

// A client writes the protocol byte by byte, so that it can also get it wrong.
type client struct {
	t    *testing.T
	conn net.Conn
}

// dial connects to a server over a pipe, and greets it as today's clients do.
func dial(t *testing.T, s *nbd.Server) *client {
	t.Helper()
	return dialFlags(t, s, 3)
}

func dialFlags(t *testing.T, s *nbd.Server, flags uint32) *client {
	t.Helper()
	near, far := net.Pipe()
	near.SetDeadline(time.Now().Add(30 * time.Second)) // so that a fault is no hang
	var wg sync.WaitGroup
	wg.Go(func() { s.ServeConn(context.Background(), far) })
	t.Cleanup(func() { near.Close(); wg.Wait() })
	c := &client{t, near}
	if got := string(c.read(18)); got != "NBDMAGICIHAVEOPT\x00\x03" {
		t.Fatalf("greeting %q", got)
	}
	c.write(be(flags))
	return c
}

// be encodes its arguments, numbers or bytes, in network order.
func be(fields ...any) []byte {
	var b []byte
	for _, f := range fields {
		switch f := f.(type) {
		case string:
			b = append(b, f...)
		case []byte:
			b = append(b, f...)
		default:
			var err error
			if b, err = binary.Append(b, binary.BigEndian, f); err != nil {
				panic(err)
			}
		}
	}
	return b
}

// str is a string with its length before it.
func str(s string) []byte { return be(uint32(len(s)), s) }

func (c *client) write(b []byte) {
	c.t.Helper()
	if _, err := c.conn.Write(b); err != nil {
		c.t.Errorf("client: write: %v", err)
	}
}

func (c *client) read(n int) []byte {
	c.t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(c.conn, b); err != nil {
		c.t.Fatalf("client: read: %v", err)
	}
	return b
}

// closed checks that the server has closed the connection.
func (c *client) closed() {
	c.t.Helper()
	if n, err := c.conn.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		c.t.Errorf("read %d bytes, %v, want a closed connection", n, err)
	}
}

// option sends an option and returns the type and data of the first reply.
func (c *client) option(code uint32, data []byte) (uint32, []byte) {
	c.t.Helper()
	c.write(be("IHAVEOPT", code, uint32(len(data)), data))
	return c.optionReply(code)
}

func (c *client) optionReply(code uint32) (uint32, []byte) {
	c.t.Helper()
	b := c.read(20)
	if m, o := binary.BigEndian.Uint64(b), binary.BigEndian.Uint32(b[8:]); m != 0x3e889045565a9 || o != code {
		c.t.Fatalf("reply %x to option %d", b, code)
	}
	return binary.BigEndian.Uint32(b[12:]), c.read(int(binary.BigEndian.Uint32(b[16:])))
}

// answers sends an option and returns the types of its replies, up to the last.
func (c *client) answers(code uint32, data []byte) []uint32 {
	c.t.Helper()
	kind, _ := c.option(code, data)
	kinds := []uint32{kind}
	for kind != ack && kind < 1<<31 {
		kind, _ = c.optionReply(code)
		kinds = append(kinds, kind)
	}
	return kinds
}

// Some of the protocol's numbers.
const (
	ack, server, info, meta                      = 1, 2, 3, 4
	unsup, invalid, unknown, tooBig              = 1<<31 + 1, 1<<31 + 3, 1<<31 + 6, 1<<31 + 9
	optExport, optAbort, optList, optInfo, optGo = 1, 2, 3, 6, 7
	optStructured, optListMeta, optSetMeta       = 8, 9, 10
	read, write, disc, flush, trim, cache, zero  = 0, 1, 2, 3, 4, 5, 6
	blockStatus                                  = 7
	perm, eio, inval, nospc                      = 1, 5, 22, 28
	fua, noHole, df, reqOne                      = 1, 2, 4, 8
	chunkNone, chunkData, chunkHole, chunkStatus = 0, 1, 2, 5
	chunkError, simple                           = 1<<15 + 1, 0xffff
)

// goNow enters transmission.
func (c *client) goNow(structured bool) *client {
	c.t.Helper()
	if structured {
		c.answers(optStructured, nil)
		c.answers(optSetMeta, be(str(""), uint32(1), str("base:allocation")))
	}
	if kinds := c.answers(optGo, be(str(""), uint16(0))); kinds[len(kinds)-1] != ack {
		c.t.Fatalf("go: %x", kinds)
	}
	return c
}

// A chunk is a simple reply, or a part of a structured one.
type chunk struct {
	kind   uint16
	errno  uint32
	off    uint64
	length int // of a hole
	data   []byte
	runs   []uint32 // of a block status: length and state in turn
	cookie uint64
}

// ask sends a request; with a write, data follows.
func (c *client) ask(cookie uint64, flags, cmd uint16, off uint64, length uint32, data ...byte) {
	c.t.Helper()
	c.write(be(uint32(0x25609513), flags, cmd, cookie, off, length, data))
}

// reply reads a whole reply. A simple one brings n bytes if it is no error.
func (c *client) reply(n int) []chunk {
	c.t.Helper()
	var chunks []chunk
	for {
		switch m := binary.BigEndian.Uint32(c.read(4)); m {
		case 0x67446698:
			k := chunk{kind: simple, errno: binary.BigEndian.Uint32(c.read(4)), cookie: binary.BigEndian.Uint64(c.read(8))}
			if k.errno == 0 {
				k.data = c.read(n)
			}
			return append(chunks, k)
		case 0x668e33ef:
			b := c.read(16)
			k := parseChunk(binary.BigEndian.Uint16(b[2:]), c.read(int(binary.BigEndian.Uint32(b[12:]))))
			k.cookie = binary.BigEndian.Uint64(b[4:])
			chunks = append(chunks, k)
			if b[1]&1 != 0 {
				return chunks
			}
		default:
			c.t.Fatalf("reply begins with %#x", m)
		}
	}
}

func parseChunk(kind uint16, b []byte) chunk {
	k := chunk{kind: kind}
	switch kind {
	case chunkData:
		k.off, k.data = binary.BigEndian.Uint64(b), b[8:]
	case chunkHole:
		k.off, k.length = binary.BigEndian.Uint64(b), int(binary.BigEndian.Uint32(b[8:]))
	case chunkStatus:
		for b = b[4:]; len(b) > 0; b = b[4:] {
			k.runs = append(k.runs, binary.BigEndian.Uint32(b))
		}
	case chunkError:
		k.errno = binary.BigEndian.Uint32(b)
	}
	return k
}

// failsWith sends a request and checks that it, and only it, fails.
func (c *client) failsWith(want uint32, flags, cmd uint16, off uint64, length uint32, data ...byte) {
	c.t.Helper()
	c.ask(42, flags, cmd, off, length, data...)
	n := 0
	if cmd == read {
		n = int(length)
	}
	got := c.reply(n)
	if len(got) != 1 || got[0].errno != want || got[0].cookie != 42 {
		c.t.Errorf("command %d flags %#x at %d+%d: got %+v, want error %d", cmd, flags, off, length, got, want)
	}
}
