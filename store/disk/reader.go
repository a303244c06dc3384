package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"

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
	b, f, err := s.reader.get(ctx, id)
	if err != nil {
		return nil, err
	}
	s.reader.cache.release(f, true)
	return b, nil
}

// Lend calls use with the plaintexts of chunks, in the order of the IDs, each
// verified against its ID. They are good until use returns, as the memory of
// frames is used again, which takes less time than to have new. It keeps all of
// their frames in memory for so long. It fails as Get does.
func (s *Store) Lend(ctx context.Context, ids []store.ID, use func(chunks [][]byte) error) error {
	frames, chunks := make([]*frame, 0, len(ids)), make([][]byte, 0, len(ids))
	defer func() {
		for _, f := range frames {
			s.reader.cache.release(f, false)
		}
	}()
	for _, id := range ids {
		b, f, err := s.reader.get(ctx, id)
		if err != nil {
			return err
		}
		frames, chunks = append(frames, f), append(chunks, b)
	}
	return use(chunks)
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

// get returns a chunk and its frame, which the caller releases. It tries again when
// the pack is gone: gc may have moved the chunk to another one since it was looked
// up.
func (r *reader) get(ctx context.Context, id store.ID) ([]byte, *frame, error) {
	for try := 1; ; try++ {
		loc, err := r.locate(ctx, id)
		if err != nil {
			return nil, nil, err
		}
		b, f, err := r.borrow(id, loc)
		if err == nil {
			r.chunks.Add(1)
			r.bytes.Add(int64(len(b)))
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return b, f, err
		}
		r.places.forget(id)
		if try == tries {
			return nil, nil, fmt.Errorf("chunk %s: %w: the index names pack %s, which is missing: %s",
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

// borrow returns a chunk from its place, verified, and the frame that it is part of,
// which the caller releases.
func (r *reader) borrow(id store.ID, loc index.Location) ([]byte, *frame, error) {
	f, err := r.frame(loc)
	if err != nil {
		return nil, nil, fmt.Errorf("chunk %s: %w", id.Short(), err)
	}
	if b, ok := f.chunk(id, loc, r.store.config.Domain.ID); ok {
		return b, f, nil
	}
	defer r.cache.release(f, false)
	reason := f.damage
	if reason == nil {
		reason = fmt.Errorf("%w: its bytes do not match its ID", store.ErrCorrupt)
	}
	return nil, nil, fmt.Errorf("chunk %s: pack %s: %w: run `satchel store verify`", id.Short(), r.store.packPath(loc.Pack), reason)
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
	if _, ok := f.verified[at]; !ok {
		f.left -= len(b)
	}
	f.verified[at] = have
	return b, have == id
}

// frame takes the frame at a place from the cache. It is decoded once however many
// ask for it at the same time. The caller releases it.
func (r *reader) frame(loc index.Location) (*frame, error) {
	f := r.cache.take(frameKey{loc.Pack, loc.Offset})
	f.once.Do(func() {
		f.err = r.load(f, loc.FrameLen)
		r.cache.filled(f)
	})
	if f.err != nil {
		r.cache.release(f, false)
		return nil, f.err
	}
	return f, nil
}

// load reads a frame of n bytes on disk.
func (r *reader) load(f *frame, n int) error {
	file, err := os.Open(r.store.packPath(f.key.pack))
	if err != nil {
		return err
	}
	defer file.Close() // read only
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	if *buf, err = pack.ReadStored(file, f.key.offset, n, *buf); err != nil {
		return fmt.Errorf("pack %s: %w", file.Name(), err)
	}
	c, err := pack.DecodeFrameIn(*buf, r.cache.buffer)
	if err != nil {
		return fmt.Errorf("pack %s: %w", file.Name(), err)
	}
	f.data, f.left, f.damage = c.Data, len(c.Data), c.Damage
	r.frames.Add(1)
	r.stored.Add(int64(n))
	return nil
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
