package index

import (
	"bytes"
	"context"
	"iter"
	"sort"

	"satchel/store"
)

// A Candidate is a chunk as gc sees it.
type Candidate struct {
	ID store.ID
	// Condemned is the epoch in which gc condemned the chunk, plus one; zero
	// means that it did not.
	Condemned uint64
}

// Candidates are all chunks of an index, ordered by ID. They take 32 bytes of
// memory each, and 8 more next to those that are condemned.
type Candidates struct{ blocks []block }

// block is a page of candidates: all blocks but the last are full. They never
// move, as the parts of a slice that grows do.
type block struct {
	ids       []store.ID
	condemned []uint64 // as in [Candidate]; nil when all are zero
}

// Candidates returns all chunks. Those that are added while it looks may be
// among them.
func (x *Index) Candidates(ctx context.Context) (*Candidates, error) {
	all := &Candidates{}
	err := x.each(ctx, func(v *view, id store.ID, _ record) error {
		c := Candidate{ID: id}
		b, err := v.condemned.Get(id[:])
		if len(b) == 8 {
			c.Condemned = be.Uint64(b) + 1
		}
		all.add(c)
		return err
	})
	return all, err
}

func (c *Candidates) add(n Candidate) {
	last := len(c.blocks) - 1
	if last < 0 || len(c.blocks[last].ids) == page {
		c.blocks = append(c.blocks, block{ids: make([]store.ID, 0, page)})
		last++
	}
	b := &c.blocks[last]
	b.ids = append(b.ids, n.ID)
	if n.Condemned == 0 {
		return
	}
	if b.condemned == nil {
		b.condemned = make([]uint64, page)
	}
	b.condemned[len(b.ids)-1] = n.Condemned
}

// Len returns how many there are.
func (c *Candidates) Len() int {
	last := len(c.blocks) - 1
	if last < 0 {
		return 0
	}
	return last*page + len(c.blocks[last].ids)
}

// At returns candidate i.
func (c *Candidates) At(i int) Candidate {
	b := c.blocks[i/page]
	n := Candidate{ID: b.ids[i%page]}
	if b.condemned != nil {
		n.Condemned = b.condemned[i%page]
	}
	return n
}

// All yields all candidates, in order.
func (c *Candidates) All() iter.Seq2[int, Candidate] {
	return func(yield func(int, Candidate) bool) {
		for i := range c.Len() {
			if !yield(i, c.At(i)) {
				return
			}
		}
	}
}

// Find returns the place of a chunk, and whether it is among the candidates.
func (c *Candidates) Find(id store.ID) (int, bool) {
	return sort.Find(c.Len(), func(i int) int {
		return bytes.Compare(id[:], c.blocks[i/page].ids[i%page][:])
	})
}
