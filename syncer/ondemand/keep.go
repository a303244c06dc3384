package ondemand

import (
	"context"
	"slices"
	"sync"
	"time"

	"satchel/store"
	"satchel/store/disk"
)

// How often what has come is made durable, and how much is held in memory until
// then, in bytes.
const (
	flushEvery = time.Second
	heldBytes  = 64 << 20
	queued     = 64 // frames
)

// A keeper puts chunks into the store, and holds them in memory until they are
// durable. When the store cannot take them, say since the disk is full, they are
// fetched again when they are needed again.
type keeper struct {
	st     *disk.Store
	note   func(string, ...any)
	frames chan []byte
	stop   chan struct{}
	done   chan struct{}

	// Of the goroutine that writes.
	w      store.Writer // nil: none yet, or it failed
	failed time.Time    // when it did
	said   bool

	mu      sync.Mutex
	held    map[store.ID][]byte
	bytes   int
	pending []store.ID // held, in the order in which they came
}

func newKeeper(st *disk.Store, note func(string, ...any)) *keeper {
	k := &keeper{
		st: st, note: note, held: map[store.ID][]byte{},
		frames: make(chan []byte, queued), stop: make(chan struct{}), done: make(chan struct{}),
	}
	go k.run()
	return k
}

func (k *keeper) get(id store.ID) []byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.held[id]
}

// hold keeps a chunk in memory.
func (k *keeper) hold(id store.ID, data []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.held[id]; ok {
		return
	}
	k.held[id] = data
	k.pending = append(k.pending, id)
	k.bytes += len(data)
	for k.bytes > heldBytes {
		k.drop(1)
	}
}

// drop lets go of the n oldest chunks; k.mu is held.
func (k *keeper) drop(n int) {
	for _, id := range k.pending[:n] {
		k.bytes -= len(k.held[id])
		delete(k.held, id)
	}
	k.pending = k.pending[n:]
}

// put has a frame written. It waits when too many are not written yet.
func (k *keeper) put(frame []byte) {
	select {
	case k.frames <- slices.Clone(frame):
	case <-k.done:
	}
}

// run writes frames, and flushes now and then.
func (k *keeper) run() {
	defer close(k.done)
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		select {
		case frame := <-k.frames:
			k.write(frame)
		case <-tick.C:
			k.flush()
		case <-k.stop:
			for {
				select {
				case frame := <-k.frames:
					k.write(frame)
					continue
				default:
				}
				k.flush()
				return
			}
		}
	}
}

// write stages a frame.
func (k *keeper) write(frame []byte) {
	ctx := context.Background()
	if k.w == nil && time.Since(k.failed) >= flushEvery {
		w, err := k.st.Begin(ctx, "fetch what a guest reads")
		if err != nil {
			k.fail(err)
			return
		}
		k.w = w
	}
	if k.w == nil {
		return
	}
	if _, err := k.w.PutFrame(ctx, frame); err != nil {
		k.fail(err)
	}
}

// fail gives up the writer for a while.
func (k *keeper) fail(err error) {
	if k.w != nil {
		_ = k.w.Close() // it has failed already
	}
	k.w, k.failed = nil, time.Now()
	if !k.said {
		k.said = true
		k.note("what is fetched cannot be kept: %v", err)
	}
}

// flush makes durable what was written, and lets go of it.
func (k *keeper) flush() {
	k.mu.Lock()
	ids := slices.Clone(k.pending)
	k.mu.Unlock()
	if k.w == nil || len(ids) == 0 {
		return
	}
	// A chunk whose frame is still to be written stays held.
	ctx := context.Background()
	written, err := k.w.Has(ctx, ids)
	if err == nil {
		err = k.w.Flush(ctx)
	}
	if err != nil {
		k.fail(err)
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for i, id := range ids {
		if len(k.pending) == 0 || k.pending[0] != id || !written[i] {
			break
		}
		k.drop(1)
	}
}

// close writes and flushes what has come, and ends the writer. No more may come.
func (k *keeper) close() error {
	close(k.stop)
	<-k.done
	if k.w == nil {
		return nil
	}
	return k.w.Close()
}
