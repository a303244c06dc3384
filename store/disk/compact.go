package disk

import (
	"context"
	"errors"
	"io/fs"

	"satchel/store"
	"satchel/store/heads"
	"satchel/store/index"
)

// When gc copies the live chunks of a pack elsewhere.
const (
	small   = packTarget / 8 // bytes on disk of a small pack
	tooMany = 32             // so many small packs are joined
)

// A share is a part of a whole, in tenths.
type share int64

// How much of a pack has to be live for it to stay as it is.
const (
	sparse share = 5
	dense  share = 9
	// A pack that was recompressed grows by a sixth when it is copied.
	denseBest share = 8
)

// roomToCopy is how many live bytes are copied before the packs that they were
// in are removed: a disk that is nearly full has no room for more.
const roomToCopy = 256 << 20

// compact removes packs in which nothing is live, after it has copied what is
// live in those of which less than the least share is, or that are small and
// many. At last it does the same for the index.
func (s *Store) compact(ctx context.Context, least share, res *GCResult) error {
	uses, err := s.index.Uses(ctx)
	if err != nil {
		return err
	}
	if err := s.drop(ctx, uses, res); err != nil {
		return err
	}
	for _, sources := range inTurn(choose(uses, least)) {
		if err := s.repack(ctx, sources, res); err != nil {
			return err
		}
		if uses, err = s.index.Uses(ctx); err != nil {
			return err
		}
		if err := s.drop(ctx, uses, res); err != nil {
			return err
		}
	}
	return s.index.Compact(ctx, s.tmp("compact-"+indexName))
}

// inTurn parts packs into those that are copied before any are removed.
func inTurn(uses []index.Use) (turns [][]index.Use) {
	var live int64
	from := 0
	for i, u := range uses {
		if live += u.Live; live > roomToCopy && i > from {
			turns, from, live = append(turns, uses[from:i]), i, u.Live
		}
	}
	if from < len(uses) {
		turns = append(turns, uses[from:])
	}
	return turns
}

// drop removes packs in which nothing is live.
func (s *Store) drop(ctx context.Context, uses []index.Use, res *GCResult) error {
	var dead []string
	for _, u := range uses {
		if u.Chunks == 0 {
			dead = append(dead, u.Name)
			res.FreedBytes += u.Size
		}
	}
	if err := s.index.Drop(ctx, dead); err != nil {
		return err
	}
	res.Removed += int64(len(dead))
	return s.removePacks(dead)
}

// isSparse reports whether less than the least share of a pack is live, and to copy
// that frees room.
func isSparse(u index.Use, least share) bool {
	if recompressed(u.Name) {
		least = min(least, denseBest)
	}
	return u.Live < u.Bytes/10*int64(least)
}

// choose returns the packs that are worth copying.
func choose(uses []index.Use, least share) []index.Use {
	var chosen, few []index.Use
	for _, u := range uses {
		switch {
		case u.Chunks == 0:
		case isSparse(u, least):
			chosen = append(chosen, u)
		case u.Size < small:
			few = append(few, u)
		}
	}
	if len(few) >= tooMany {
		chosen = append(chosen, few...)
	}
	return chosen
}

// repacker copies live chunks into new packs.
type repacker struct {
	store *Store
	lease *heads.Held
	res   *GCResult
	from  []string // packs that the open pack has chunks of
	frame gathering
	pack  *packing
	packs int
}

// repack copies the live chunks of the sources. Chunks that are damaged stay
// where they are, and their packs with them.
func (s *Store) repack(ctx context.Context, sources []index.Use, res *GCResult) (err error) {
	lease, err := s.heads.Lease(ctx, "gc", false)
	if err != nil {
		return err
	}
	r := &repacker{store: s, lease: lease, res: res}
	defer func() {
		if r.pack != nil {
			r.pack.discard()
		}
		err = errors.Join(err, lease.Release(context.WithoutCancel(ctx)))
	}()
	for _, u := range sources {
		if err := r.copy(ctx, u.Name); err != nil {
			return err
		}
	}
	return r.flush(ctx)
}

// copy copies the live chunks of one pack, frame by frame.
func (r *repacker) copy(ctx context.Context, name string) error {
	var found []suspect
	frames, err := r.store.readDirectory(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // scrub tells of it
	case isCorrupt(err):
		found, err = r.store.fromIndex(ctx, name)
	default:
		found = fromDirectory(name, frames)
	}
	if err != nil {
		return err
	}
	r.res.Repacked++
	r.from = append(r.from, name)
	for _, f := range found {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := r.copyFrame(ctx, f.chunks); err != nil {
			return err
		}
	}
	return nil
}

// copyFrame copies the chunks of one frame that still lie there.
func (r *repacker) copyFrame(ctx context.Context, placed []index.Placed) error {
	ids := make([]store.ID, len(placed))
	for i, p := range placed {
		ids[i] = p.ID
	}
	entries, err := r.store.index.Lookup(ctx, ids)
	if err != nil {
		return err
	}
	for i, e := range entries {
		if !e.Found || e.Location != placed[i].Location {
			continue
		}
		data, f, err := r.store.reader.borrow(ids[i], e.Location)
		if isCorrupt(err) {
			continue
		} else if err != nil {
			return err
		}
		r.frame.add(ids[i], data)
		r.store.reader.cache.release(f, false)
		if r.frame.enough() {
			if err := r.write(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *repacker) write(ctx context.Context) (err error) {
	if len(r.frame.chunks) == 0 {
		return nil
	}
	if r.pack == nil {
		if r.pack, err = r.store.newPacking(r.lease, r.packs); err != nil {
			return err
		}
		r.packs++
	}
	frame := r.frame.encode(nil)
	if err := r.pack.append(frame, r.frame.chunks); err != nil {
		return err
	}
	r.frame = gathering{}
	if r.pack.full() {
		return r.seal(ctx)
	}
	return nil
}

// flush ends the last frame and the last pack.
func (r *repacker) flush(ctx context.Context) error {
	if err := r.write(ctx); err != nil {
		return err
	}
	if r.pack == nil {
		return nil
	}
	return r.seal(ctx)
}

// seal makes the pack durable and has the index find its chunks there.
func (r *repacker) seal(ctx context.Context) error {
	p := r.pack
	r.pack = nil
	size, err := p.seal()
	if err != nil {
		return err
	}
	r.res.FreedBytes -= size
	from := r.from
	r.from = from[len(from)-1:] // the last one may have more to give
	return r.store.index.Move(ctx, from, p.name, size, p.frames)
}
