package nbd_test

import (
	"context"
	"errors"
	"io"
	"iter"
	"math/rand/v2"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"satchel/vmm/nbd"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const block = 4096

// A memory is a writable export that can do all that an export can.
type memory struct {
	mu      sync.RWMutex
	data    []byte
	holes   []bool // by block
	flushes int
	bad     int64 // reads and writes that touch this byte fail; negative: none
}

var errBad = errors.New("bad sector")

// newMemory returns an export of whole blocks, all holes.
func newMemory(size int) *memory {
	m := &memory{data: make([]byte, size), holes: make([]bool, (size+block-1)/block), bad: -1}
	for i := range m.holes {
		m.holes[i] = true
	}
	return m
}

// fill writes noise to a range.
func (m *memory) fill(off, length int) *memory {
	noise := rand.NewChaCha8([32]byte{byte(off)})
	b := make([]byte, length)
	noise.Read(b)
	m.WriteAt(b, int64(off))
	return m
}

func (m *memory) Size() int64 { return int64(len(m.data)) }

func (m *memory) hit(off int64, n int) bool { return m.bad >= off && m.bad < off+int64(n) }

func (m *memory) ReadAt(b []byte, off int64) (int, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.hit(off, len(b)) {
		return 0, errBad
	}
	n := copy(b, m.data[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (m *memory) WriteAt(b []byte, off int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.hit(off, len(b)) {
		return 0, errBad
	}
	for i := off / block; i <= (off+int64(len(b))-1)/block; i++ {
		m.holes[i] = false
	}
	return copy(m.data[off:], b), nil
}

func (m *memory) Flush() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.flushes++
	return nil
}

func (m *memory) Trim(off, length int64) error { return m.Zero(off, length, true) }

func (m *memory) Zero(off, length int64, punch bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.data[off : off+length])
	for i := off / block; i <= (off+length-1)/block; i++ {
		whole := i*block >= off && min((i+1)*block, m.Size()) <= off+length
		m.holes[i] = punch && (whole || m.holes[i])
	}
	return nil
}

func (m *memory) Runs(off, length int64) iter.Seq[nbd.Run] {
	return func(yield func(nbd.Run) bool) {
		for end := off + length; off < end; {
			m.mu.RLock()
			hole := m.holes[off/block]
			m.mu.RUnlock()
			n := min(block-off%block, end-off)
			if !yield(nbd.Run{Length: n, Hole: hole, Zero: hole}) {
				return
			}
			off += n
		}
	}
}

// state returns a copy of the content and how often it was flushed.
func (m *memory) state() (data []byte, holes []bool, flushes int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.data), slices.Clone(m.holes), m.flushes
}

// readOnly hides all that makes an export writable.
type readOnly struct{ nbd.Export }

// serve runs a server until the test ends and returns it with its socket.
func serve(t testing.TB, name string, e nbd.Export, opt nbd.Options) (*nbd.Server, string) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := nbd.NewServer(name, e, opt)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s, socket
}
