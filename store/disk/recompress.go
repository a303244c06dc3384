package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"satchel/store/index"
)

// A pack whose name ends so has been recompressed. The mark is in the name since
// that is as durable as the pack, and since a rebuilt index has it too.
const bestSuffix = "-best"

func recompressed(pack string) bool { return strings.HasSuffix(pack, bestSuffix) }

// turn is how many packs are recompressed before those that are empty then are
// removed: so much room it takes besides.
const turn = 8

// RecompressResult tells what recompression did.
type RecompressResult struct {
	Packs      int64 `json:"packs"`       // packs written
	Smaller    int64 `json:"smaller"`     // frames that became smaller
	Copied     int64 `json:"copied"`      // frames that did not, and were copied
	Removed    int64 `json:"removed"`     // packs removed
	FreedBytes int64 `json:"freed_bytes"` // bytes of those, less those of new ones
	Left       int64 `json:"left"`        // packs that wait for the next time
}

// Recompress rewrites the packs that were not yet, compressed as well as can be.
// What it writes is decoded and compared before it counts. It begins no frame
// after the given time, unless that is zero, and may be stopped at any moment: what
// is in sealed packs by then is not done again. Chunks that are damaged stay where
// they are, and their packs with them. Like [Store.GC], with which it shares a lock,
// it may run beside all others, and works on all cores at the lowest priority.
//
// Progress, which may be nil, is told of bytes of packs.
func (s *Store) Recompress(ctx context.Context, until time.Time, progress func(done, total int64)) (res RecompressResult, err error) {
	unlock, err := s.lockGC()
	if err != nil {
		return res, err
	}
	defer unlock()
	late := func() bool { return !until.IsZero() && time.Now().After(until) }
	r := &recompression{store: s, late: late, progress: progress}
	if err := r.all(ctx); err != nil {
		return r.res, fmt.Errorf("recompress: %w", err)
	}
	return r.res, nil
}

// recompression is one call of Recompress.
type recompression struct {
	store       *Store
	late        func() bool // asked before each frame
	progress    func(done, total int64)
	done, total int64 // bytes of packs
	res         RecompressResult
}

// coarse returns the packs that were not yet recompressed.
func coarse(uses []index.Use) (chosen []index.Use) {
	for _, u := range uses {
		if u.Chunks > 0 && !recompressed(u.Name) {
			chosen = append(chosen, u)
		}
	}
	return chosen
}

func (r *recompression) all(ctx context.Context) error {
	uses, err := r.store.index.Uses(ctx)
	if err != nil {
		return err
	}
	sources := coarse(uses)
	for _, u := range sources {
		r.total += u.Size
	}
	for len(sources) > 0 && !r.late() {
		n := min(turn, len(sources))
		var gc GCResult
		if err := r.turn(ctx, sources[:n], &gc); err != nil {
			return err
		}
		sources = sources[n:]
		if uses, err = r.store.index.Uses(ctx); err != nil {
			return err
		}
		if err := r.store.drop(ctx, uses, &gc); err != nil {
			return err
		}
		r.res.Removed += gc.Removed
		r.res.FreedBytes += gc.FreedBytes
	}
	r.res.Left = int64(len(coarse(uses)))
	return r.store.index.Compact(ctx, r.store.tmp("compact-"+indexName))
}

// turn recompresses some packs.
func (r *recompression) turn(ctx context.Context, sources []index.Use, gc *GCResult) (err error) {
	lease, err := r.store.heads.Lease(ctx, "recompress", false)
	if err != nil {
		return err
	}
	out := &repacker{store: r.store, lease: lease, res: gc}
	defer func() {
		if out.pack != nil {
			out.pack.discard()
		}
		err = errors.Join(err, lease.Release(context.WithoutCancel(ctx)))
	}()
	if err := r.recast(ctx, sources, out); err != nil {
		return err
	}
	return out.flush(ctx)
}

// read hands the frames of a pack to next, with the chunks that the index finds
// there.
func (r *recompression) read(ctx context.Context, u index.Use, next func(*recast) error) error {
	file, size, err := r.store.openPack(u.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // scrub tells of it
	} else if err != nil {
		return err
	}
	defer file.Close() // read only
	frames, err := directoryOf(file, size)
	if isCorrupt(err) {
		return nil // the same
	} else if err != nil {
		return err
	}
	for _, f := range frames {
		c := &recast{store: r.store, from: u.Name, done: make(chan struct{})}
		if err := c.load(ctx, file, f); err != nil {
			return err
		}
		if !slices.Contains(c.live, true) {
			continue
		}
		if r.late() {
			return nil
		}
		if err := next(c); err != nil {
			return err
		}
	}
	return nil
}

// write adds a frame to the open pack.
func (r *recompression) write(ctx context.Context, c *recast, out *repacker) (err error) {
	r.done += int64(len(c.stored))
	if r.progress != nil {
		r.progress(r.done, r.total)
	}
	if len(c.chunks) == 0 {
		return nil
	}
	if out.pack == nil {
		name := packName(out.lease.Name, out.packs) + bestSuffix
		if out.pack, err = r.store.newPackingAs(name); err != nil {
			return err
		}
		out.packs++
		r.res.Packs++
	}
	if n := len(out.from); n == 0 || out.from[n-1] != c.from {
		out.from = append(out.from, c.from)
	}
	if c.smaller {
		r.res.Smaller++
	} else {
		r.res.Copied++
	}
	if err := out.pack.append(c.frame, c.chunks); err != nil {
		return err
	}
	if out.pack.full() {
		return out.seal(ctx)
	}
	return nil
}
