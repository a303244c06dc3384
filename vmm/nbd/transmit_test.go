package nbd_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"net"
	"reflect"
	"testing"
	"time"

	"satchel/vmm/nbd"
)

func TestRefusals(t *testing.T) {
	const size = 8 * block
	m := newMemory(size).fill(0, size)
	m.bad = 5 * block
	s := nbd.NewServer("root", m, nbd.Options{})
	for name, structured := range map[string]bool{"simple": false, "structured": true} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, s).goNow(structured)
			before := s.Stats()
			for _, f := range []func(){
				func() { c.failsWith(eio, 0, read, 5*block, 1) },
				func() { c.failsWith(eio, 0, read, 0, size) },
				func() { c.failsWith(eio, 0, write, 5*block, 1, 'x') },
				func() { c.failsWith(eio, 0, cache, 0, size) },
				func() { c.failsWith(inval, 0, read, size, 1) },
				func() { c.failsWith(inval, 0, read, 1<<63, 1) },
				func() { c.failsWith(inval, 0, read, 1<<64-1, 1) },
				func() { c.failsWith(inval, 0, read, 0, 0) },
				func() { c.failsWith(inval, 0, read, 0, 1<<32-1) },
				func() { c.failsWith(inval, noHole, read, 0, 1) },
				func() { c.failsWith(nospc, 0, write, size-1, 2, 'x', 'y') },
				func() { c.failsWith(nospc, 0, zero, size-1, 2) },
				func() { c.failsWith(inval, 0, trim, size-1, 2) },
				func() { c.failsWith(inval, 0, flush, 1, 0) },
				func() { c.failsWith(inval, 0, 8, 0, 1) },
				func() { c.failsWith(inval, 0, 0x1234, 0, 1) },
				func() { c.failsWith(inval, 1<<4, zero, 0, 1) },
				func() { c.failsWith(inval, 0, blockStatus, 0, 0) },
				func() { c.failsWith(0, fua, read, 0, 1) },
			} {
				f()
			}
			after := s.Stats()
			if n, bad := after.Requests-before.Requests, after.Errors-before.Errors; n != 19 || bad != 18 {
				t.Errorf("%d requests, %d errors, want 19 and 18", n, bad)
			}
		})
	}
}

func TestReadOnlyRefusesWrites(t *testing.T) {
	c := dial(t, nbd.NewServer("root", readOnly{newMemory(block)}, nbd.Options{})).goNow(false)
	c.failsWith(perm, 0, write, 0, 3, 'a', 'b', 'c')
	c.failsWith(perm, 0, zero, 0, 3)
	c.failsWith(perm, 0, trim, 0, 3)
	c.failsWith(inval, 0, flush, 0, 0)
	c.failsWith(inval, df, read, 0, 3) // not agreed on
	c.failsWith(inval, 0, blockStatus, 0, 3)
	c.failsWith(0, 0, read, 0, 3)
}

func TestOversizedWriteIsSkipped(t *testing.T) {
	m := newMemory(nbd.MaxRequest * 2)
	c := dial(t, nbd.NewServer("root", m, nbd.Options{})).goNow(false)
	c.failsWith(inval, 0, write, 0, nbd.MaxRequest+1, make([]byte, nbd.MaxRequest+1)...)
	c.failsWith(0, 0, write, 1, 1, 'x')
	if data, _, _ := m.state(); data[0] != 0 || data[1] != 'x' {
		t.Errorf("begins with %q", data[:2])
	}
}

func TestStructuredReads(t *testing.T) {
	m := newMemory(8*block).fill(2*block, 2*block)
	c := dial(t, nbd.NewServer("root", m, nbd.Options{})).goNow(true)
	data := m.data[2*block : 4*block]
	for name, tc := range map[string]struct {
		flags       uint16
		off, length int
		want        []chunk
	}{
		"hole first":    {0, block, 3 * block, []chunk{{kind: chunkHole, off: block, length: block}, {kind: chunkData, off: 2 * block, data: data}}},
		"hole last":     {0, 3*block + 9, 2 * block, []chunk{{kind: chunkData, off: 3*block + 9, data: data[block+9:]}, {kind: chunkHole, off: 4 * block, length: block + 9}}},
		"only hole":     {0, 5 * block, 7, []chunk{{kind: chunkHole, off: 5 * block, length: 7}}},
		"only data":     {0, 2 * block, 2 * block, []chunk{{kind: chunkData, off: 2 * block, data: data}}},
		"in one":        {df, block, 3 * block, []chunk{{kind: chunkData, off: block, data: m.data[block : 4*block]}}},
		"in one, holes": {df, 5 * block, block, []chunk{{kind: chunkData, off: 5 * block, data: make([]byte, block)}}},
	} {
		c.ask(0, tc.flags, read, uint64(tc.off), uint32(tc.length))
		if got := c.reply(0); !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s: got %d chunks %.200v", name, len(got), got)
		}
	}
}

func TestBlockStatus(t *testing.T) {
	m := newMemory(8*block).fill(2*block, 2*block)
	c := dial(t, nbd.NewServer("root", m, nbd.Options{})).goNow(true)
	for name, tc := range map[string]struct {
		flags       uint16
		off, length int
		want        []uint32
	}{
		"all":      {0, 0, 8 * block, []uint32{2 * block, 3, 2 * block, 0, 4 * block, 3}},
		"one":      {reqOne, 0, 8 * block, []uint32{2 * block, 3}},
		"one, cut": {reqOne, 2*block + 1, 5, []uint32{5, 0}},
	} {
		c.ask(0, tc.flags, blockStatus, uint64(tc.off), uint32(tc.length))
		if got := c.reply(0); len(got) != 1 || !reflect.DeepEqual(got[0].runs, tc.want) {
			t.Errorf("%s: got %v, want %v", name, got, tc.want)
		}
	}
}

func TestZeroesWithoutZeroer(t *testing.T) {
	const size = 1 << 20
	m := newMemory(size).fill(0, size)
	c := dial(t, nbd.NewServer("root", &memoryIO{m}, nbd.Options{})).goNow(true)
	c.failsWith(0, fua, zero, 1, size-2)
	if !bytes.Equal(m.data[1:size-1], make([]byte, size-2)) || m.data[0] == 0 || m.data[size-1] == 0 {
		t.Error("wrong bytes zeroed")
	}
	c.failsWith(inval, 0, trim, 0, 1)
	c.ask(0, 0, blockStatus, 0, size)
	if got := c.reply(0); !reflect.DeepEqual(got[0].runs, []uint32{size, 0}) {
		t.Errorf("status %v", got)
	}
}

// memoryIO is an export that reads and writes and does nothing more.
type memoryIO struct{ m *memory }

func (x *memoryIO) Size() int64                              { return x.m.Size() }
func (x *memoryIO) ReadAt(b []byte, off int64) (int, error)  { return x.m.ReadAt(b, off) }
func (x *memoryIO) WriteAt(b []byte, off int64) (int, error) { return x.m.WriteAt(b, off) }

func TestGarbageEndsTheConnection(t *testing.T) {
	s := nbd.NewServer("root", newMemory(block), nbd.Options{})
	c := dial(t, s).goNow(false)
	c.write(make([]byte, 28))
	c.closed()
	dial(t, s).goNow(false).failsWith(0, 0, read, 0, 1) // others do not notice
}

func TestDisconnectAnswersWhatWasAsked(t *testing.T) {
	e := &gate{memory: newMemory(block), entered: make(chan struct{}), open: make(chan struct{})}
	c := dial(t, nbd.NewServer("root", e, nbd.Options{})).goNow(false)
	c.ask(1, 0, read, 0, 8)
	<-e.entered
	c.ask(2, 0, disc, 0, 0)
	close(e.open)
	if got := c.reply(8); got[0].cookie != 1 || got[0].errno != 0 {
		t.Errorf("got %+v", got)
	}
	c.closed()
}

// A gate holds up reads until it is open.
type gate struct {
	*memory
	entered, open chan struct{}
}

func (g *gate) ReadAt(b []byte, off int64) (int, error) {
	select {
	case g.entered <- struct{}{}:
		<-g.open
	case <-g.open:
	}
	return g.memory.ReadAt(b, off)
}

func TestRequestsRunInParallelUpToALimit(t *testing.T) {
	const limit = 4
	e := &gate{memory: newMemory(block), entered: make(chan struct{}), open: make(chan struct{})}
	c := dial(t, nbd.NewServer("root", e, nbd.Options{MaxRequests: limit})).goNow(false)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for i := range uint64(3 * limit) {
			c.ask(i, 0, read, 0, 1)
		}
	}()
	for range limit {
		<-e.entered // none has ended, so all are in flight
	}
	select {
	case <-e.entered:
		t.Error("more requests in flight than allowed")
	default:
	}
	close(e.open)
	seen := map[uint64]bool{}
	for range 3 * limit {
		seen[c.reply(1)[0].cookie] = true
	}
	if <-sent; len(seen) != 3*limit {
		t.Errorf("answered %v", seen)
	}
}

func TestWaits(t *testing.T) {
	e := &gate{memory: newMemory(block), entered: make(chan struct{}), open: make(chan struct{})}
	s := nbd.NewServer("root", e, nbd.Options{})
	c := dial(t, s).goNow(false)
	for cookie := range uint64(2) {
		c.ask(cookie, 0, read, 0, 1)
		<-e.entered
		first := s.Waits()
		time.Sleep(time.Millisecond)
		if then := s.Waits(); first <= 0 || then <= first {
			t.Errorf("at %d requests it waits %v, and later %v", cookie+1, first, then)
		}
	}
	close(e.open)
	c.reply(1)
	c.reply(1)
	c.ask(2, 0, disc, 0, 0)
	c.closed()
	if waits := s.Waits(); waits != 0 {
		t.Errorf("at no request it waits %v", waits)
	}
}

func TestStop(t *testing.T) {
	e := &gate{memory: newMemory(block), entered: make(chan struct{}), open: make(chan struct{})}
	s := nbd.NewServer("root", e, nbd.Options{})
	l, err := net.Listen("unix", t.TempDir()+"/s")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	var clients []*client
	for range 3 { // one in the handshake, one idle, one with a request in flight
		conn, err := net.Dial("unix", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(30 * time.Second))
		c := &client{t, conn}
		c.read(18)
		clients = append(clients, c)
	}
	for _, c := range clients[1:] {
		c.write(be(uint32(3)))
		c.goNow(false)
	}
	clients[2].ask(9, 0, read, 0, 100)
	<-e.entered
	cancel()
	clients[0].closed()
	clients[1].closed()
	select {
	case err := <-done:
		t.Fatalf("stopped with a request in flight: %v", err)
	default:
	}
	close(e.open)
	if got := clients[2].reply(100); got[0].cookie != 9 || got[0].errno != 0 {
		t.Errorf("request in flight: %+v", got)
	}
	clients[2].closed()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("unix", l.Addr().String()); err == nil {
		t.Error("still listening")
	}
}

func TestServeReportsItsListener(t *testing.T) {
	l, err := net.Listen("unix", t.TempDir()+"/s")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := nbd.NewServer("", newMemory(block), nbd.Options{}).Serve(t.Context(), l); err == nil {
		t.Error("served on a closed listener")
	}
}

func TestDistinctBytes(t *testing.T) {
	const size = 200*block + 100
	s := nbd.NewServer("root", newMemory(size), nbd.Options{})
	c := dial(t, s).goNow(false)
	touched := map[int]bool{}
	for range 60 {
		off := rand.IntN(size)
		n := 1 + rand.IntN(min(size-off, 70*block))
		c.failsWith(0, 0, read, uint64(off), uint32(n))
		for b := off / block; b <= (off+n-1)/block; b++ {
			touched[b] = true
		}
		want := int64(len(touched) * block)
		if touched[200] {
			want -= block - 100
		}
		if got := s.Stats().DistinctBytes; got != want {
			t.Fatalf("%d distinct bytes, want %d", got, want)
		}
	}
}
