package disk

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"satchel/store"
	"satchel/store/pack"
)

// Frames calls emit with pack frames that together hold just the chunks asked
// for, each once, in the order in which they lie in packs. A frame of which all
// chunks are asked for goes out as it lies on disk; of others the chunks asked
// for are packed anew. The frame is valid only until emit returns. Memory does
// not depend on how many are asked for but for their IDs. It fails with
// [store.ErrNotExist], before the first frame, when a chunk is not there, and
// with [store.ErrCorrupt], after the last, when one cannot be read.
func (s *Store) Frames(ctx context.Context, ids []store.ID, emit func(frame []byte) error) error {
	x := &export{store: s, emit: emit, rest: newGathering()}
	defer func() { recycle(x.rest.data) }()
	if err := x.find(ctx, ids, 1); err != nil {
		return err
	}
	if err := x.flush(); err != nil {
		return err
	}
	return x.damage
}

// wanted is a chunk that was asked for and where it lies. It is small since
// there may be many.
type wanted struct {
	id                           store.ID
	pack                         uint32 // among the export's packs
	offset, frameLen, start, len uint32
}

// export is one call of Frames.
type export struct {
	store  *Store
	emit   func([]byte) error
	packs  []string   // in the order in which they were met
	raw    []byte     // a frame as it lies on disk
	plain  []byte     // a frame's plaintext
	out    []byte     // a frame made anew
	rest   *gathering // chunks for the next of those
	damage error      // the first chunk that could not be read, or nil
}

// find looks the chunks up and exports them.
func (x *export) find(ctx context.Context, ids []store.ID, try int) error {
	places, err := x.locate(ctx, ids)
	if err != nil {
		return err
	}
	for len(places) > 0 {
		n := prefix(places, func(a, b wanted) bool { return a.pack == b.pack })
		if err := x.pack(ctx, places[:n], try); err != nil {
			return err
		}
		places = places[n:]
	}
	return nil
}

// locate returns where the chunks lie, each once, ordered by place.
func (x *export) locate(ctx context.Context, ids []store.ID) ([]wanted, error) {
	places := make([]wanted, 0, len(ids))
	numbers := map[string]uint32{}
	for batch := range slices.Chunk(ids, hasBatch) {
		entries, err := x.store.index.Lookup(ctx, batch)
		if err != nil {
			return nil, err
		}
		for i, e := range entries {
			if !e.Found {
				return nil, fmt.Errorf("chunk %s: %w", batch[i].Short(), store.ErrNotExist)
			}
			number, ok := numbers[e.Pack]
			if !ok {
				number = uint32(len(x.packs))
				numbers[e.Pack] = number
				x.packs = append(x.packs, e.Pack)
			}
			places = append(places, wanted{batch[i], number, uint32(e.Offset), uint32(e.FrameLen), uint32(e.Start), uint32(e.Len)})
		}
	}
	slices.SortFunc(places, func(a, b wanted) int {
		return cmp.Or(cmp.Compare(a.pack, b.pack), cmp.Compare(a.offset, b.offset), cmp.Compare(a.start, b.start), bytes.Compare(a.id[:], b.id[:]))
	})
	return slices.Compact(places), nil
}

// prefix returns how many elements at the start belong together.
func prefix(places []wanted, same func(a, b wanted) bool) int {
	n := 1
	for n < len(places) && same(places[0], places[n]) {
		n++
	}
	return n
}

// pack exports the chunks of one pack. If that is gone, gc may have moved them
// to another one since they were looked up.
func (x *export) pack(ctx context.Context, places []wanted, try int) error {
	file, err := os.Open(x.store.packPath(x.packs[places[0].pack]))
	if errors.Is(err, fs.ErrNotExist) && try < tries {
		ids := make([]store.ID, len(places))
		for i, p := range places {
			ids[i] = p.id
		}
		return x.find(ctx, ids, try+1)
	} else if errors.Is(err, fs.ErrNotExist) {
		x.broken(places[0], fmt.Errorf("%w: the index names it, but it is missing: %s", store.ErrCorrupt, helpRebuild))
		return nil
	} else if err != nil {
		return err
	}
	defer file.Close() // read only
	for len(places) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := prefix(places, func(a, b wanted) bool { return a.offset == b.offset })
		if err := x.frame(file, places[:n]); err != nil {
			return err
		}
		places = places[n:]
	}
	return nil
}

// frame exports the chunks of one frame.
func (x *export) frame(file *os.File, places []wanted) (err error) {
	x.raw, err = pack.ReadStored(file, int64(places[0].offset), int(places[0].frameLen), x.raw)
	if isCorrupt(err) {
		x.broken(places[0], err)
		return nil
	} else if err != nil {
		return fmt.Errorf("pack %s: %w", file.Name(), err)
	}
	if lens, err := pack.CheckFrame(x.raw); err == nil && covers(places, lens) {
		return x.emit(x.raw)
	}
	content, err := pack.DecodeFrame(x.raw, x.plain[:0])
	if err != nil {
		x.broken(places[0], err)
		return nil
	}
	x.plain = content.Data
	for _, p := range places {
		if err := x.chunk(content, p); err != nil {
			return err
		}
	}
	return nil
}

// covers reports whether the places, ordered, are those of all chunks of a
// frame.
func covers(places []wanted, lens []int) bool {
	if len(places) != len(lens) {
		return false
	}
	start := 0
	for i, n := range lens {
		if int(places[i].start) != start || int(places[i].len) != n {
			return false
		}
		start += n
	}
	return true
}

// chunk adds a chunk to the next frame that is made anew.
func (x *export) chunk(c pack.Content, p wanted) error {
	end := int(p.start) + int(p.len)
	if end > len(c.Data) || x.store.config.Domain.ID(c.Data[p.start:end]) != p.id {
		reason := c.Damage
		if reason == nil {
			reason = fmt.Errorf("%w: its bytes do not match its ID", store.ErrCorrupt)
		}
		x.broken(p, reason)
		return nil
	}
	x.rest.add(p.id, c.Data[p.start:end])
	if x.rest.enough() {
		return x.flush()
	}
	return nil
}

// flush emits the frame made anew.
func (x *export) flush() error {
	if len(x.rest.chunks) == 0 {
		return nil
	}
	x.out = x.rest.encode(x.out[:0])
	x.rest.data, x.rest.chunks = x.rest.data[:0], x.rest.chunks[:0]
	return x.emit(x.out)
}

// broken notes a chunk that cannot be read. The others still go out.
func (x *export) broken(p wanted, reason error) {
	if x.damage == nil {
		x.damage = fmt.Errorf("chunk %s: pack %s: %w: run `satchel store verify`", p.id.Short(), x.store.packPath(x.packs[p.pack]), reason)
	}
}
