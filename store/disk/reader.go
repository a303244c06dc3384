package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/singleflight"

	"satchel/store"
	"satchel/store/index"
	"satchel/store/pack"
)

// ReadStats counts what a [Store] has read since it was opened.
type ReadStats struct {
	Frames      int64 `json:"frames"`       // frames read and decoded
	StoredBytes int64 `json:"stored_bytes"` // bytes of those on disk
	Chunks      int64 `json:"chunks"`       // chunks handed out
	Bytes       int64 `json:"bytes"`        // plaintext bytes of those
}

// reader reads chunks. Neighbouring chunks share a frame, so decoded frames
// are kept for a while, and a chunk is verified once while its frame is.
type reader struct {
	store                         *Store
	cache                         *cache
	flight                        singleflight.Group
	places                        places
	frames, stored, chunks, bytes atomic.Int64
}

func newReader(s *Store) *reader {
	return &reader{store: s, cache: newCache(cacheSize)}
}

func (r *reader) close() error {
	r.cache = newCache(cacheSize)
	return nil
}

// Reads returns what the store has read so far.
func (s *Store) Reads() ReadStats {
	r := s.reader
	return ReadStats{r.frames.Load(), r.stored.Load(), r.chunks.Load(), r.bytes.Load()}
}

// Get returns the plaintext of a chunk, verified against its ID. The caller
// must not change it. It fails with [store.ErrNotExist] or [store.ErrCorrupt].
func (s *Store) Get(ctx context.Context, id store.ID) ([]byte, error) {
	b, err := s.reader.get(ctx, id)
	if err != nil {
		return nil, err
	}
	s.reader.chunks.Add(1)
	s.reader.bytes.Add(int64(len(b)))
	return b, nil
}

// Locate looks up where chunks lie, in one go, and remembers it for a while.
func (s *Store) Locate(ctx context.Context, ids []store.ID) error {
	r := s.reader
	var unknown []store.ID
	for _, id := range ids {
		if _, ok := r.places.get(id); !ok {
			unknown = append(unknown, id)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	entries, err := s.index.Lookup(ctx, unknown)
	if err != nil {
		return err
	}
	for i, e := range entries {
		if e.Found {
			r.places.put(unknown[i], e.Location)
		}
	}
	return nil
}

// tries is how often a chunk is looked up anew before its pack counts as lost.
const tries = 4

// get tries again when the pack is gone: gc may have moved the chunk to
// another one since it was looked up.
func (r *reader) get(ctx context.Context, id store.ID) ([]byte, error) {
	for try := 1; ; try++ {
		loc, err := r.locate(ctx, id)
		if err != nil {
			return nil, err
		}
		b, err := r.read(id, loc)
		if !errors.Is(err, fs.ErrNotExist) {
			return b, err
		}
		r.places.forget(id)
		if try == tries {
			return nil, fmt.Errorf("chunk %s: %w: the index names pack %s, which is missing: %s",
				id.Short(), store.ErrCorrupt, r.store.packPath(loc.Pack), helpRebuild)
		}
	}
}

func (r *reader) locate(ctx context.Context, id store.ID) (index.Location, error) {
	if loc, ok := r.places.get(id); ok {
		return loc, nil
	}
	entries, err := r.store.index.Lookup(ctx, []store.ID{id})
	if err != nil {
		return index.Location{}, err
	}
	if !entries[0].Found {
		return index.Location{}, fmt.Errorf("chunk %s: %w", id.Short(), store.ErrNotExist)
	}
	r.places.put(id, entries[0].Location)
	return entries[0].Location, nil
}

// read returns a chunk from its place, verified.
func (r *reader) read(id store.ID, loc index.Location) ([]byte, error) {
	f, err := r.frame(loc)
	if err != nil {
		return nil, fmt.Errorf("chunk %s: %w", id.Short(), err)
	}
	if b, ok := f.chunk(id, loc, r.store.config.Domain.ID); ok {
		return b, nil
	}
	reason := f.damage
	if reason == nil {
		reason = fmt.Errorf("%w: its bytes do not match its ID", store.ErrCorrupt)
	}
	return nil, fmt.Errorf("chunk %s: pack %s: %w: run `satchel store verify`", id.Short(), r.store.packPath(loc.Pack), reason)
}

// chunk returns a chunk of the frame if it is whole.
func (f *frame) chunk(id store.ID, loc index.Location, hash func([]byte) store.ID) ([]byte, bool) {
	if loc.Start+loc.Len > len(f.data) {
		return nil, false
	}
	b := f.data[loc.Start : loc.Start+loc.Len : loc.Start+loc.Len]
	at := span{loc.Start, loc.Len}
	f.mu.Lock()
	have, ok := f.verified[at]
	f.mu.Unlock()
	if ok {
		return b, have == id
	}
	have = hash(b)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.verified == nil {
		f.verified = map[span]store.ID{}
	}
	f.verified[at] = have
	return b, have == id
}

// frame returns the frame at a place, from the cache or decoded once however
// many ask for it at the same time.
func (r *reader) frame(loc index.Location) (*frame, error) {
	key := frameKey{loc.Pack, loc.Offset}
	if f := r.cache.get(key); f != nil {
		return f, nil
	}
	v, err, _ := r.flight.Do(fmt.Sprintf("%s@%d", key.pack, key.offset), func() (any, error) {
		if f := r.cache.get(key); f != nil {
			return f, nil
		}
		f, err := r.load(key, loc.FrameLen)
		if err == nil {
			r.cache.add(f)
		}
		return f, err
	})
	if err != nil {
		return nil, err
	}
	return v.(*frame), nil
}

func (r *reader) load(key frameKey, n int) (*frame, error) {
	file, err := os.Open(r.store.packPath(key.pack))
	if err != nil {
		return nil, err
	}
	defer file.Close() // read only
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	c, b, err := pack.ReadFrame(file, key.offset, n, *buf)
	*buf = b
	if err != nil {
		return nil, fmt.Errorf("pack %s: %w", file.Name(), err)
	}
	r.frames.Add(1)
	r.stored.Add(int64(n))
	return &frame{key: key, data: c.Data, stored: n, damage: c.Damage}, nil
}

// placesLimit bounds how many locations are kept in memory.
const placesLimit = 1 << 15

// places remembers where chunks lie. A place may be out of date: then its pack
// is gone.
type places struct {
	mu       sync.Mutex
	new, old map[store.ID]index.Location // two halves; the older is dropped when the newer is full
}

func (p *places) get(id store.ID) (index.Location, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	loc, ok := p.new[id]
	if !ok {
		if loc, ok = p.old[id]; ok {
			p.insert(id, loc)
		}
	}
	return loc, ok
}

func (p *places) put(id store.ID, loc index.Location) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.insert(id, loc)
}

func (p *places) insert(id store.ID, loc index.Location) {
	if p.new == nil || len(p.new) >= placesLimit/2 {
		p.old, p.new = p.new, make(map[store.ID]index.Location)
	}
	p.new[id] = loc
}

func (p *places) forget(id store.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.new, id)
	delete(p.old, id)
}
