package nbd

import (
	"math/bits"
	"sync"
	"sync/atomic"
	"time"
)

// Stats counts what a server has done since it was made.
type Stats struct {
	Connections   int64 `json:"connections"` // that got as far as transmission
	Requests      int64 `json:"requests"`
	Errors        int64 `json:"errors"`         // requests that were refused or failed
	ReadBytes     int64 `json:"read_bytes"`     // by clients, repeated reads included
	WrittenBytes  int64 `json:"written_bytes"`  // by clients, zeroes included
	DistinctBytes int64 `json:"distinct_bytes"` // of the export, read at least once, in whole blocks
}

type counters struct {
	connections, requests, errors, readBytes, written atomic.Int64

	touched *touched

	mu    sync.Mutex
	begun map[*request]time.Time // of requests that workers do
}

func (c *counters) begin(r *request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.begun[r] = time.Now()
}

func (c *counters) end(r *request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.begun, r)
}

// oldest is the age of the oldest of them.
func (c *counters) oldest() (age time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, at := range c.begun {
		age = max(age, time.Since(at))
	}
	return age
}

func (c *counters) read(off, length int64) {
	c.readBytes.Add(length)
	c.touched.add(off, length)
}

func (c *counters) stats() Stats {
	return Stats{
		Connections:   c.connections.Load(),
		Requests:      c.requests.Load(),
		Errors:        c.errors.Load(),
		ReadBytes:     c.readBytes.Load(),
		WrittenBytes:  c.written.Load(),
		DistinctBytes: c.touched.bytes(),
	}
}

// A touched is the set of an export's blocks that were read. A block is 4 KiB,
// or as much more as keeps the set within 8 MiB.
type touched struct {
	size  int64
	shift uint // a block is 1<<shift bytes
	words []atomic.Uint64
	count atomic.Int64 // blocks in the set
	last  atomic.Bool  // the last block is in it, which may be short
}

const maxTouchedWords = 1 << 20

func newTouched(size int64) *touched {
	t := &touched{size: size, shift: 12}
	for size>>t.shift/64 >= maxTouchedWords {
		t.shift++
	}
	t.words = make([]atomic.Uint64, size>>t.shift/64+1)
	return t
}

// add marks a range that lies within the export.
func (t *touched) add(off, length int64) {
	if length <= 0 {
		return
	}
	first, last := uint64(off)>>t.shift, uint64(off+length-1)>>t.shift
	for w := first / 64; w <= last/64; w++ {
		mask := ^uint64(0)
		if w == first/64 {
			mask &= ^uint64(0) << (first % 64)
		}
		if w == last/64 {
			mask &= ^uint64(0) >> (63 - last%64)
		}
		if t.words[w].Load()&mask == mask {
			continue
		}
		before := t.words[w].Or(mask)
		t.count.Add(int64(bits.OnesCount64(mask &^ before)))
	}
	if last == uint64(t.size-1)>>t.shift {
		t.last.Store(true)
	}
}

// bytes returns the size of the set, with no more than the export holds.
func (t *touched) bytes() int64 {
	n := t.count.Load() << t.shift
	if short := t.size & (1<<t.shift - 1); t.last.Load() && short != 0 && n > 0 {
		n -= 1<<t.shift - short
	}
	return n
}
