package overlay

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"testing"
)

// counting counts the bytes that are read of a lower.
type counting struct {
	pattern
	read atomic.Int64
	err  error
}

func (c *counting) ReadAt(b []byte, off int64) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	c.read.Add(int64(len(b)))
	return c.pattern.ReadAt(b, off)
}

func TestCacheReadsOnce(t *testing.T) {
	lower := &counting{pattern: pattern{3<<20 + 5*sector}}
	want := make([]byte, lower.size)
	if _, err := lower.pattern.ReadAt(want, 0); err != nil {
		t.Fatal(err)
	}
	c, err := NewCache(lower, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			got := make([]byte, 3000)
			for off := int64(i * 1000); off < c.Size(); off += 2500 {
				n, err := c.ReadAt(got, off)
				if short := int64(n) < 3000; err != nil && (!errors.Is(err, io.EOF) || !short) || short != (off+3000 > c.Size()) {
					t.Errorf("read %d bytes at %d, error %v", n, off, err)
				}
				if !bytes.Equal(got[:n], want[off:off+int64(n)]) {
					t.Errorf("other bytes at %d", off)
				}
			}
		})
	}
	wg.Wait()
	if n := lower.read.Load(); n > lower.size || n == 0 {
		t.Errorf("read %d bytes of %d", n, lower.size)
	}
}

func TestCacheTellsOfErrors(t *testing.T) {
	lower := &counting{pattern: pattern{1 << 20}, err: errors.New("bad sector")}
	c, err := NewCache(lower, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.ReadAt(make([]byte, 10), 0); !errors.Is(err, lower.err) {
		t.Errorf("error %v", err)
	}
}

// holed is a lower of which a byte cannot be read.
type holed struct {
	pattern
	bad int64
}

var errBad = errors.New("bad sector")

func (h holed) ReadAt(b []byte, off int64) (int, error) {
	if n := h.bad - off; 0 <= n && n < int64(len(b)) {
		n, _ := h.pattern.ReadAt(b[:n], off)
		return n, errBad
	}
	return h.pattern.ReadAt(b, off)
}

// TestCacheReadsAroundErrors: what cannot be read is no reason not to read what
// lies beside it.
func TestCacheReadsAroundErrors(t *testing.T) {
	lower := holed{pattern{1 << 20}, 9000}
	c, err := NewCache(lower, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	got, want := make([]byte, 4096), make([]byte, 4096)
	for _, off := range []int64{4096, 3 * 4096, 5000} {
		n, err := c.ReadAt(got, off)
		m, wantErr := lower.ReadAt(want, off)
		if n != m || !errors.Is(err, wantErr) || !bytes.Equal(got[:n], want[:m]) {
			t.Errorf("at %d it read %d bytes, %v; want %d, %v", off, n, err, m, wantErr)
		}
	}
}

// brokenFile cannot be written.
type brokenFile struct{ File }

func (brokenFile) WriteAt([]byte, int64) (int, error) { return 0, errors.New("no space") }

func TestCacheWithoutRoomReadsOn(t *testing.T) {
	lower := &counting{pattern: pattern{1 << 20}}
	c, err := NewCache(lower, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.file = brokenFile{c.file}
	got, want := make([]byte, 9000), make([]byte, 9000)
	for range 2 {
		if _, err := c.ReadAt(got, 5000); err != nil {
			t.Fatal(err)
		}
		if _, err := lower.pattern.ReadAt(want, 5000); err != nil || !bytes.Equal(got, want) {
			t.Fatal("other bytes", err)
		}
	}
}

// TestCacheTries: what was read before is had without waiting, and nothing else.
func TestCacheTries(t *testing.T) {
	lower := &counting{pattern: pattern{4 << 20}}
	c, err := NewCache(lower, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	got, want := make([]byte, 9000), make([]byte, 9000)
	off := int64(unitSize - 100)
	if c.TryReadAt(got, off) || c.InFile(off, 9000) != nil || lower.read.Load() > 0 {
		t.Error("it had what nobody had read")
	}
	if _, err := c.ReadAt(make([]byte, 1), 0); err != nil {
		t.Fatal(err)
	}
	if c.TryReadAt(got, off) || c.InFile(off, 9000) != nil {
		t.Error("it had what lies in two units, of which one was read")
	}
	if _, err := c.ReadAt(want, off); err != nil {
		t.Fatal(err)
	}
	if !c.TryReadAt(got, off) {
		t.Skip("this file system cannot tell what is in memory")
	}
	if !bytes.Equal(got, want) {
		t.Error("other bytes")
	}
	if f := c.InFile(off, 9000); f != nil { // the kernel can tell
		if _, err := f.ReadAt(got, off); err != nil || !bytes.Equal(got, want) {
			t.Error("other bytes in the file", err)
		}
	}
}
