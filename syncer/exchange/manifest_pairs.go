package exchange

import (
	"context"
	"slices"

	"satchel/layers"
	"satchel/store"
	"satchel/syncer"
)

// How many manifest chunks are in a pair at most, and how many more of the older
// ones on both sides of those that lie where they do.
const (
	pairManifests = 128
	moreManifests = 4
)

// besides puts new manifest chunks, in order, beside older ones of the same
// trees that the newer version does not have.
func besides(older []store.ID, newer []piece) []pairing {
	if len(older) == 0 {
		return nil
	}
	var pairs []pairing
	for at := 0; at < len(newer); at += pairManifests {
		n := min(pairManifests, len(newer)-at)
		low := max(0, at*len(older)/len(newer)-moreManifests)
		high := min(len(older), (at+n)*len(older)/len(newer)+moreManifests, low+pairManifests+2*moreManifests)
		p := pairing{pieces: newer[at : at+n]}
		p.Pair = syncer.Pair{Base: older[low:high], Target: idsOf(p.pieces)}
		for _, c := range p.pieces {
			p.size += int(c.size)
		}
		pairs = append(pairs, p)
	}
	return pairs
}

// A lineage is the manifest chunks of an older version that a newer one does not
// have, one level after the other, in order.
type lineage struct {
	get   store.Getter
	level []store.ID
	met   idSet
}

// newLineage begins with the roots.
func newLineage(g store.Getter, older, newer layers.Version) *lineage {
	l := &lineage{get: g, met: idSet{}}
	for _, r := range rootsOf(older) {
		if r.ID != newer.Tree.ID && r.ID != newer.Base.ID {
			l.level = append(l.level, r.ID)
		}
	}
	return l
}

// part returns what of the level lies where n of the newer version's chunks do,
// after the first at of all. Of no lineage it is nothing.
func (l *lineage) part(at, n, all int) []store.ID {
	if l == nil {
		return nil
	}
	return l.level[at*len(l.level)/all : (at+n)*len(l.level)/all]
}

// below goes on to the next level, without what the newer version has there.
func (l *lineage) below(ctx context.Context, newer idSet) error {
	if l == nil {
		return nil
	}
	var next []store.ID
	for w := range slices.Chunk(l.level, window) {
		refs, err := read(ctx, l.get, w)
		if err != nil {
			return err
		}
		for _, r := range refs {
			for _, id := range r.Below {
				if !newer.has(id) && l.met.add(id) {
					next = append(next, id)
				}
			}
		}
	}
	l.level = next
	return nil
}
