package overlay

import (
	"sync"
	"sync/atomic"
)

// roomSize is the unit in which the file of data gets room on the host's disk,
// in bytes.
const roomSize = 64 << 10

// A room makes room in the file of data before a unit of it is written for the
// first time, by zeros, which nobody reads: no block there has its bit. Without
// it the host's file system finds a place for each block when that is flushed,
// and writes that down in its journal, which takes several times as long as to
// flush blocks that have their place.
type room struct {
	made  bitmap // by unit
	size  int64  // of the disk
	locks [16]sync.Mutex
}

// newRoom takes units of which something was written for ones that have room.
func newRoom(present bitmap, size int64) *room {
	units := (size + roomSize - 1) / roomSize
	r := &room{made: newBitmap(units), size: size}
	blocks := (size + BlockSize - 1) / BlockSize
	for b := present.next(0, blocks, true); b < blocks; {
		u := b * BlockSize / roomSize
		r.set(u)
		b = present.next(min((u+1)*roomSize/BlockSize, blocks), blocks, true)
	}
	return r
}

func (r *room) set(unit int64) {
	words(unit, unit+1, func(w int64, mask uint64) { atomic.OrUint64(&r.made[w], mask) })
}

// make makes room for a write, before it is done. That there is none is seen by
// the write.
func (r *room) make(data File, off, end int64) {
	for unit := off / roomSize; unit*roomSize < end; unit++ {
		if !r.made.get(unit) {
			r.makeUnit(data, unit, off, end)
		}
	}
}

func (r *room) makeUnit(data File, unit, off, end int64) {
	lock := &r.locks[unit%int64(len(r.locks))]
	lock.Lock()
	defer lock.Unlock()
	from, to := unit*roomSize, min((unit+1)*roomSize, r.size)
	if r.made.get(unit) {
		return // whoever was here may have written by now
	}
	if off > from || end < to { // else it is written whole
		_, _ = data.WriteAt(nothing[:to-from], from)
	}
	r.set(unit)
}

var nothing [roomSize]byte
