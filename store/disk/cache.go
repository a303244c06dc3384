package disk

import (
	"container/list"
	"sync"

	"satchel/store"
)

// cacheSize bounds the plaintext bytes of the frames in a cache.
const cacheSize = 48 << 20

// frameKey names a frame of the store.
type frameKey struct {
	pack   string
	offset int64
}

// frame is a decoded frame.
type frame struct {
	key      frameKey
	data     []byte
	stored   int   // bytes on disk
	damage   error // why the bytes are not what was written, or nil
	mu       sync.Mutex
	verified map[span]store.ID
}

// span is the place of a chunk in a frame.
type span struct{ start, len int }

// cache holds the frames that were used last.
type cache struct {
	mu    sync.Mutex
	byKey map[frameKey]*list.Element // of *frame
	order *list.List                 // the one used last in front
	size  int
	limit int
}

func newCache(limit int) *cache {
	return &cache{byKey: map[frameKey]*list.Element{}, order: list.New(), limit: limit}
}

func (c *cache) get(k frameKey) *frame {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.byKey[k]
	if e == nil {
		return nil
	}
	c.order.MoveToFront(e)
	return e.Value.(*frame)
}

// add keeps a frame, and drops those not used for longest to make room.
func (c *cache) add(f *frame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byKey[f.key] != nil {
		return
	}
	c.byKey[f.key] = c.order.PushFront(f)
	c.size += len(f.data)
	for c.size > c.limit && c.order.Len() > 1 {
		last := c.order.Remove(c.order.Back()).(*frame)
		delete(c.byKey, last.key)
		c.size -= len(last.data)
	}
}
