package disk

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"

	"satchel/store"
	"satchel/store/index"
	"satchel/store/pack"
)

// A suspect is a frame to read, with the chunks that should be in it.
type suspect struct {
	offset int64
	len    int
	chunks []index.Placed
}

// fromDirectory returns the frames of a pack as its directory lists them.
func fromDirectory(name string, frames []pack.Frame) []suspect {
	suspects := make([]suspect, len(frames))
	for i, f := range frames {
		suspects[i] = suspect{f.Offset, f.Len, placesOf(name, f)}
	}
	return suspects
}

// fromIndex returns the frames of a pack as far as the index knows them.
func (s *Store) fromIndex(ctx context.Context, name string) ([]suspect, error) {
	placed, err := s.index.In(ctx, name)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(placed, func(a, b index.Placed) int {
		return cmp.Or(cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.Start, b.Start))
	})
	var suspects []suspect
	for _, p := range placed {
		if n := len(suspects); n == 0 || suspects[n-1].offset != p.Offset {
			suspects = append(suspects, suspect{offset: p.Offset, len: p.FrameLen})
		}
		last := &suspects[len(suspects)-1]
		last.chunks = append(last.chunks, p)
	}
	return suspects, nil
}

// frame scrubs one frame and returns how many of its chunks are indexed there.
// A damaged chunk that the index finds elsewhere, or not at all, is not missed,
// so only the damage to the pack is told.
func (v *scrub) frame(ctx context.Context, r io.ReaderAt, name string, f suspect, buf []byte) (int, []byte, error) {
	c, buf, err := pack.ReadFrame(r, f.offset, f.len, buf)
	reason := c.Damage
	if isCorrupt(err) {
		reason = err
	} else if err != nil {
		return 0, buf, err
	}
	live, err := v.store.live(ctx, f.chunks)
	if err != nil {
		return 0, buf, err
	}
	indexed, whole := 0, int64(0)
	for i, p := range f.chunks {
		if live[i] {
			indexed++
		}
		if p.Start+p.Len <= len(c.Data) && v.store.config.Domain.ID(c.Data[p.Start:p.Start+p.Len]) == p.ID {
			whole++
			continue
		}
		if reason == nil {
			reason = fmt.Errorf("%w: bytes of chunk %s do not match its ID", store.ErrCorrupt, p.ID.Short())
		}
		if live[i] {
			v.damaged(p, reason)
		}
	}
	if reason != nil {
		v.torn(name, "frame at %d: %v", f.offset, reason)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.res.Chunks += whole
	return indexed, buf, nil
}

// live reports which chunks the index finds at their places.
func (s *Store) live(ctx context.Context, placed []index.Placed) ([]bool, error) {
	ids := make([]store.ID, len(placed))
	for i, p := range placed {
		ids[i] = p.ID
	}
	entries, err := s.index.Lookup(ctx, ids)
	if err != nil {
		return nil, err
	}
	live := make([]bool, len(placed))
	for i, e := range entries {
		live[i] = e.Found && e.Location == placed[i].Location
	}
	return live, nil
}

// lost tells of a pack that is not there, unless gc removed it in good order.
func (v *scrub) lost(ctx context.Context, u index.Use) error {
	placed, err := v.store.index.In(ctx, u.Name)
	if err != nil {
		return err
	}
	for _, p := range placed {
		v.damaged(p, fmt.Errorf("%w: the pack is missing", store.ErrCorrupt))
	}
	if len(placed) > 0 {
		v.torn(u.Name, "the pack is missing")
	}
	return nil
}

// strays tells of index records that name places in a pack at which it has no
// such chunk.
func (v *scrub) strays(ctx context.Context, u index.Use, frames []suspect) error {
	placed, err := v.store.index.In(ctx, u.Name)
	if err != nil {
		return err
	}
	have := map[index.Placed]bool{}
	for _, f := range frames {
		for _, p := range f.chunks {
			have[p] = true
		}
	}
	for _, p := range placed {
		if !have[p] {
			v.damaged(p, fmt.Errorf("%w: the index names a place at which the pack has no such chunk: %s", store.ErrCorrupt, helpRebuild))
		}
	}
	return nil
}
