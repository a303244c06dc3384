package server

import (
	"container/heap"
	"context"
	"fmt"
	"net/http"
	"time"

	"satchel/layers"
	"satchel/layers/manifest"
	"satchel/store"
	"satchel/syncer"
)

// maxHistory is how many records of versions one answer holds. The device goes
// on from the parents that it was not sent.
const maxHistory = 8192

// history answers with records of versions: the newest of those that the device
// wants and has not.
func (s *Server) history(w http.ResponseWriter, r *http.Request, d caller) error {
	layer, err := s.layer(r, d, syncer.Read)
	if err != nil {
		return err
	}
	var req syncer.HistoryRequest
	if err := readJSON(r, &req); err != nil {
		return err
	}
	if len(req.Have) > syncer.MaxIDs {
		return fmt.Errorf("history beyond %d versions: %w", len(req.Have), syncer.ErrTooLarge)
	}
	own, err := s.reached(r.Context(), layer)
	if err != nil {
		return err
	}
	if !own.versions.has(req.Want) {
		return fmt.Errorf("history of version %s of layer %s: %w", req.Want.Short(), layer, syncer.ErrForbidden)
	}
	ids, err := beyond(r.Context(), s.store, own, req.Want, req.Have, maxHistory)
	if err != nil {
		return err
	}
	return s.sendChunks(w, r, d, layer, ids)
}

// beyond returns versions of a layer's history that are in the history of want
// and not in that of a version in have, the newest first and at most limit. It
// reads hardly more records than it returns, by going back in time in both
// histories together; where clocks were wrong it may return versions that the
// other side has.
func beyond(ctx context.Context, g store.Getter, own *reached, want store.ID, have []store.ID, limit int) ([]store.ID, error) {
	b := &backwards{ctx: ctx, get: g, met: map[store.ID]*past{}}
	for _, id := range have {
		if own.versions.has(id) {
			if err := b.meet(id, true); err != nil {
				return nil, err
			}
		}
	}
	if err := b.meet(want, false); err != nil {
		return nil, err
	}
	var ids []store.ID
	for b.wanted > 0 && len(ids) < limit {
		p := heap.Pop(b).(*past)
		if !p.had {
			b.wanted--
			ids = append(ids, p.id)
		}
		for _, parent := range p.version.Parents {
			if err := b.meet(parent, p.had); err != nil {
				return nil, err
			}
		}
	}
	return ids, nil
}

// backwards goes back in time through histories. It is a heap of the versions
// that it came to and has not gone on from.
type backwards struct {
	ctx    context.Context
	get    store.Getter
	met    map[store.ID]*past
	next   []*past
	wanted int // of next that the other side has not
}

// past is a version that was met.
type past struct {
	id      store.ID
	version layers.Version
	had     bool // in the history of what the other side has
	gone    bool // its parents were met
}

// meet comes to a version, perhaps for a second time.
func (b *backwards) meet(id store.ID, had bool) error {
	if p, ok := b.met[id]; ok {
		if had && !p.had {
			p.had = true
			if !p.gone {
				b.wanted--
			}
		}
		return nil
	}
	v, err := manifest.ReadVersion(b.ctx, b.get, id)
	if err != nil {
		return damaged(err)
	}
	p := &past{id: id, version: layers.Version{Parents: v.Parents, Time: v.Time}, had: had}
	b.met[id] = p
	if !had {
		b.wanted++
	}
	heap.Push(b, p)
	return nil
}

// Len, Less, Swap, Push and Pop are for [heap.Interface].
func (b *backwards) Len() int           { return len(b.next) }
func (b *backwards) Less(i, j int) bool { return b.time(i).After(b.time(j)) }
func (b *backwards) Swap(i, j int)      { b.next[i], b.next[j] = b.next[j], b.next[i] }
func (b *backwards) Push(x any)         { b.next = append(b.next, x.(*past)) }
func (b *backwards) Pop() any {
	p := b.next[len(b.next)-1]
	b.next = b.next[:len(b.next)-1]
	p.gone = true
	return p
}

func (b *backwards) time(i int) time.Time { return b.next[i].version.Time }
