package deltas

import (
	"context"
	"slices"

	"satchel/store/delta"
	"satchel/syncer"
)

// Marks are chosen by content: a place is marked when the hash of the bytes
// before it says so, so equal runs have equal marks wherever they lie. This is
// how Manber finds similar files ("Finding Similar Files in a Large File System",
// 1994), with the gear hash of Xia et al. ("Ddelta", 2014) in place of Rabin's, as
// in Odess (Zou et al., 2021). Those keep a few marks for a whole chunk; here all
// count, since what is looked for may be a small part of a chunk.
const (
	markWindow = 64 // bytes that a mark is the hash of
	markBits   = 10 // one place in 2^markBits is marked
)

// gears are what each byte adds to the hash: the first numbers of splitmix64.
var gears = func() (g [256]uint64) {
	for i := range g {
		z := uint64(i+1) * 0x9e3779b97f4a7c15
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		g[i] = z ^ z>>31
	}
	return g
}()

// Marks calls found with the marks of data, in order.
func Marks(data []byte, found func(syncer.Mark)) {
	var h uint64
	for i, c := range data {
		h = h<<1 + gears[c]
		if h>>(64-markBits) == 0 && i >= markWindow-1 {
			found(syncer.Mark(h * 0x9e3779b97f4a7c15 >> 32))
		}
	}
}

// Sketch returns the sketch of a pair. It fails as [Codec.Make] does.
func (c *Codec) Sketch(ctx context.Context, p *syncer.Pair) (syncer.Sketch, error) {
	release, err := c.reserve(ctx, p)
	if err != nil {
		return nil, err
	}
	defer release()
	buf := buffers.Get().(*[]byte) //nolint:errcheck,forcetypeassert // it holds nothing else
	defer buffers.Put(buf)
	met := map[syncer.Mark]struct{}{}
	if _, err := c.base(ctx, p, buf); err != nil {
		return nil, err
	}
	Marks(*buf, func(m syncer.Mark) { met[m] = struct{}{} })
	if _, err := c.read(ctx, p.Target, buf, delta.MaxTarget); err != nil {
		return nil, err
	}
	var marks syncer.Sketch
	Marks(*buf, func(m syncer.Mark) {
		if _, ok := met[m]; !ok && len(marks) < syncer.MaxMarks {
			met[m] = struct{}{}
			marks = append(marks, m)
		}
	})
	return slices.Clip(marks), nil
}
