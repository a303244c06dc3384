package disk

import (
	"container/list"
	"slices"
	"sync"

	"satchel/store"
)

// cacheSize bounds the memory of the frames in a cache, in bytes.
const cacheSize = 48 << 20

// spareBuffers is how many buffers of frames that are gone a cache keeps.
const spareBuffers = 4

// frameKey names a frame of the store.
type frameKey struct {
	pack   string
	offset int64
}

// frame is a decoded frame.
type frame struct {
	key    frameKey
	once   sync.Once // fills in what follows
	err    error     // why it could not be read, or nil
	data   []byte
	damage error // why the bytes are not what was written, or nil

	mu       sync.Mutex
	verified map[span]store.ID
	left     int // bytes of chunks that nobody has read yet

	// Under the cache's lock.
	cached bool
	size   int  // of its memory, when it is filled
	users  int  // how many look at it, and will say when they are done
	kept   bool // parts of it were given away for good
}

// span is the place of a chunk in a frame.
type span struct{ start, len int }

// cache holds the frames that were used last. The memory of one that has gone is
// used again if nobody can still look at it.
type cache struct {
	mu    sync.Mutex
	byKey map[frameKey]*list.Element // of *frame
	order *list.List                 // the one used last in front
	size  int
	limit int
	spare [][]byte // empty, with room
}

func newCache(limit int) *cache {
	return &cache{byKey: map[frameKey]*list.Element{}, order: list.New(), limit: limit}
}

// take returns the frame of that key, a new one if there is none. The caller fills
// it once, and then releases it.
func (c *cache) take(k frameKey) *frame {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.byKey[k]
	if e == nil {
		e = c.order.PushFront(&frame{key: k, cached: true})
		c.byKey[k] = e
	}
	c.order.MoveToFront(e)
	f := e.Value.(*frame)
	f.users++
	return f
}

// filled tells that a frame has got its data, or failed to. It drops frames not
// used for longest to make room. One that failed is read anew next time.
func (c *cache) filled(f *frame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !f.cached {
		return // many others came meanwhile
	}
	if f.err != nil {
		c.drop(c.byKey[f.key])
		return
	}
	f.size = cap(f.data)
	c.size += f.size
	for c.size > c.limit && c.order.Len() > 1 {
		c.drop(c.order.Back())
	}
}

// drop takes a frame out.
func (c *cache) drop(e *list.Element) {
	f := c.order.Remove(e).(*frame)
	delete(c.byKey, f.key)
	f.cached = false
	c.size -= f.size
	c.reuse(f)
}

// release tells that the caller looks at the frame no more, or that it keeps parts
// of its data for good. A frame that was lent whole is the next to go: who lends
// reads each chunk once, and its memory is still near the processor.
func (c *cache) release(f *frame, kept bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f.users--
	f.kept = f.kept || kept
	if f.cached && f.users == 0 && !kept && f.spent() {
		c.order.MoveToBack(c.byKey[f.key])
	}
	c.reuse(f)
}

// spent reports whether each chunk of the frame was read.
func (f *frame) spent() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.left == 0
}

// reuse takes the memory of a frame that nobody can look at any more.
func (c *cache) reuse(f *frame) {
	if f.cached || f.users > 0 || f.kept || f.data == nil || len(c.spare) == spareBuffers {
		return
	}
	c.spare = append(c.spare, f.data[:0])
	f.data = nil
}

// buffer returns an empty buffer with room for n bytes, but not for many more.
func (c *cache) buffer(n int) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, b := range slices.Backward(c.spare) {
		if cap(b) >= n && cap(b) <= 2*n {
			c.spare = slices.Delete(c.spare, i, i+1)
			return b
		}
	}
	if len(c.spare) == spareBuffers {
		c.spare = slices.Delete(c.spare, 0, 1) // it fits nothing that comes
	}
	return make([]byte, 0, n)
}
