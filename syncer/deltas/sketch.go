package deltas

import (
	"context"

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

// Sketch returns the sketch of a pair: of the open forms, where that is shorter. It
// fails as [Codec.Make] does.
func (c *Codec) Sketch(ctx context.Context, p *syncer.Pair) (syncer.Sketch, error) {
	release, err := c.reserve(ctx, p)
	if err != nil {
		return nil, err
	}
	defer release()
	base, target := buffers.Get().(*[]byte), buffers.Get().(*[]byte) //nolint:errcheck,forcetypeassert // it holds nothing else
	defer buffers.Put(base)
	defer buffers.Put(target)
	from, err := c.base(ctx, p, base)
	if err != nil {
		return nil, err
	}
	if _, err := c.read(ctx, p.Target, target, delta.MaxTarget); err != nil {
		return nil, err
	}
	sketch := lacks(*base, *target)
	forms := newForms()
	defer forms.free()
	if from, to, ok := forms.of(from, delta.Span{Data: *target}); ok {
		if other := lacks(from.Data, to.Data); len(other) < len(sketch) {
			return other, nil
		}
	}
	return sketch, nil
}

// lacks returns the marks of a target that a base does not have.
func lacks(base, target []byte) (sketch syncer.Sketch) {
	met := map[syncer.Mark]struct{}{}
	Marks(base, func(m syncer.Mark) { met[m] = struct{}{} })
	Marks(target, func(m syncer.Mark) {
		if _, ok := met[m]; !ok && len(sketch) < syncer.MaxMarks {
			met[m] = struct{}{}
			sketch = append(sketch, m)
		}
	})
	return sketch
}
