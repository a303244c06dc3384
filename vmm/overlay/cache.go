package overlay

import (
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
)

// unitSize is how much of a lower is brought into a cache at once, in bytes: what
// a frame of a pack holds, since all of that is decompressed in any case.
const unitSize = 512 << 10

// A Cache keeps what was read of a lower in a file that nobody else sees, so that
// the page cache has it from then on. It holds nothing but copies: the file is
// gone with the process, and when there is no room for it, all is read from the
// lower.
type Cache struct {
	Lower
	file   File
	have   bitmap // units
	full   atomic.Bool
	locks  [16]sync.Mutex // of units, by number
	ahead  chan int64     // units to bring in before they are asked for
	ended  chan struct{}
	active sync.WaitGroup
}

// NewCache returns a cache of a lower, with its file in a directory.
func NewCache(lower Lower, dir string) (*Cache, error) {
	f, err := os.CreateTemp(dir, "disk-cache-*")
	if err != nil {
		return nil, err
	}
	err = os.Remove(f.Name())
	if err == nil {
		err = f.Truncate(lower.Size())
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	c := &Cache{Lower: lower, file: osFile{f}, have: newBitmap((lower.Size() + unitSize - 1) / unitSize),
		ahead: make(chan int64, 4), ended: make(chan struct{})}
	for range readers {
		c.active.Go(c.readAhead)
	}
	return c, nil
}

// readers is how many units are read ahead at once.
const readers = 2

// ReadAt implements [io.ReaderAt].
func (c *Cache) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 || off >= c.Size() {
		return 0, io.EOF
	}
	var end error
	if rest := c.Size() - off; int64(len(p)) > rest {
		p, end = p[:rest], io.EOF
	}
	for n < len(p) {
		at := off + int64(n)
		unit := at / unitSize
		part := p[n:min(int64(len(p)), int64(n)+(unit+1)*unitSize-at)]
		var m int
		m, err = c.read(part, at, unit)
		if n += m; m < len(part) {
			return n, errors.Join(err, io.ErrUnexpectedEOF)
		}
	}
	return n, end
}

// read reads from one unit.
func (c *Cache) read(p []byte, off, unit int64) (int, error) {
	if !c.have.get(unit) {
		if c.full.Load() {
			return c.Lower.ReadAt(p, off)
		}
		if err := c.bring(unit); err != nil {
			return c.Lower.ReadAt(p, off) // it may be another part of the unit that fails
		}
		if next := unit + 1; next*unitSize < c.Size() && !c.have.get(next) && unit > 0 && c.have.get(unit-1) {
			select {
			case c.ahead <- next:
			default: // they are busy enough
			}
		}
		if !c.have.get(unit) {
			return c.Lower.ReadAt(p, off)
		}
	}
	return c.file.ReadAt(p, off)
}

// bring copies a unit into the file.
func (c *Cache) bring(unit int64) error {
	lock := &c.locks[unit%int64(len(c.locks))]
	lock.Lock()
	defer lock.Unlock()
	if c.have.get(unit) {
		return nil
	}
	off := unit * unitSize
	size := min(unitSize, c.Size()-off)
	buf := units.Get().(*[]byte) //nolint:errcheck,forcetypeassert // it holds nothing else
	defer units.Put(buf)
	for at := off; at < off+size; {
		n, zeros := c.Run(at)
		n = min(n, off+size-at)
		b := (*buf)[:n]
		if zeros {
			at += n
			continue
		}
		if m, err := c.Lower.ReadAt(b, at); m < len(b) {
			return err
		}
		if _, err := c.file.WriteAt(b, at); err != nil {
			c.full.Store(true)
			return nil //nolint:nilerr // it is only a cache
		}
		at += n
	}
	words(unit, unit+1, func(w int64, mask uint64) { atomic.OrUint64(&c.have[w], mask) })
	return nil
}

var units = sync.Pool{New: func() any { b := make([]byte, unitSize); return &b }}

func (c *Cache) readAhead() {
	for {
		select {
		case unit := <-c.ahead:
			_ = c.bring(unit) // who reads it will be told
		case <-c.ended:
			return
		}
	}
}

// Close gives up the file.
func (c *Cache) Close() error {
	close(c.ended)
	c.active.Wait()
	return c.file.Close()
}
