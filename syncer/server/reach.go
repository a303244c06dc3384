package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/semaphore"
	"golang.org/x/sync/singleflight"

	"satchel/layers/manifest"
	"satchel/store"
)

// A prefix is the part of an ID that is kept in memory: 128 bits of a keyed
// hash. Who could make two chunks that agree in it could only mislead others
// about chunks of their own making.
type prefix [16]byte

func prefixOf(id store.ID) prefix { return prefix(id[:len(prefix{})]) }

// prefixes are IDs, in order. They never change.
type prefixes []prefix

func (p prefixes) has(id store.ID) bool {
	_, ok := slices.BinarySearchFunc(p, prefixOf(id), compare)
	return ok
}

func compare(a, b prefix) int { return bytes.Compare(a[:], b[:]) }

// with returns the prefixes and those of a set, none of which is among them.
func (p prefixes) with(set map[prefix]struct{}) prefixes {
	if len(set) == 0 {
		return p
	}
	added := make(prefixes, 0, len(set))
	for x := range set {
		added = append(added, x)
	}
	slices.SortFunc(added, compare)
	both := make(prefixes, 0, len(p)+len(added))
	for len(p) > 0 && len(added) > 0 {
		if compare(p[0], added[0]) < 0 {
			both, p = append(both, p[0]), p[1:]
		} else {
			both, added = append(both, added[0]), added[1:]
		}
	}
	return append(append(both, p...), added...)
}

// reached is what the history of a head reaches. It never changes. A chunk that
// is a manifest in one place is never contents in another: a walk that has met
// it as the one would not look below it as the other. Pushes see to that.
type reached struct {
	head      store.ID
	versions  prefixes
	manifests prefixes // nodes and lists
	contents  prefixes
}

// has reports whether a chunk is reached, as whatever it may be.
func (x *reached) has(id store.ID) bool { return x.manifest(id) || x.contents.has(id) }

// manifest reports whether a chunk is reached as a manifest.
func (x *reached) manifest(id store.ID) bool { return x.manifests.has(id) || x.versions.has(id) }

func (x *reached) bytes() int {
	return 256 + len(prefix{})*(len(x.versions)+len(x.manifests)+len(x.contents))
}

// maxReach bounds the memory of all sets together. A layer whose set is larger
// by itself is kept as long as it is the one used last.
const maxReach = 128 << 20

// reach keeps what each layer reaches, as far as memory allows; what was
// dropped is made anew from the store when it is asked for.
type reach struct {
	get    store.Getter
	limit  int
	ctx    context.Context // ends when the server is closed
	end    context.CancelFunc
	flight singleflight.Group
	making *semaphore.Weighted
	makers sync.WaitGroup

	mu    sync.Mutex
	sets  map[store.LayerID]*reachEntry
	total int    // bytes of all sets
	clock uint64 // counts uses
}

type reachEntry struct {
	set  *reached
	used uint64
}

func newReach(get store.Getter, limit int) *reach {
	ctx, cancel := context.WithCancel(context.Background())
	return &reach{
		get: get, limit: limit, ctx: ctx, end: cancel,
		making: semaphore.NewWeighted(2), sets: map[store.LayerID]*reachEntry{},
	}
}

// close ends what is being made.
func (r *reach) close() {
	r.end()
	r.makers.Wait()
}

// of returns what a head reaches, or more, if that has moved on meanwhile. All
// who wait for the same set wait for one walk.
func (r *reach) of(ctx context.Context, head store.Head) (*reached, error) {
	if head.Version.IsZero() {
		return &reached{}, nil
	}
	old := r.cached(head.Layer)
	if old.versions.has(head.Version) {
		return old, nil
	}
	key := string(head.Layer[:]) + string(head.Version[:])
	done := r.flight.DoChan(key, func() (any, error) { return r.make(head) })
	select {
	case res := <-done:
		if res.Err != nil {
			return nil, fmt.Errorf("layer %s: %w", head.Layer, res.Err)
		}
		return res.Val.(*reached), nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// cached returns the set of a layer that is in memory, or an empty one.
func (r *reach) cached(layer store.LayerID) *reached {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, ok := r.sets[layer]
	if !ok {
		return &reached{}
	}
	r.clock++
	e.used = r.clock
	return e.set
}

// make extends the set of a layer to a head, or makes it from nothing.
func (r *reach) make(head store.Head) (*reached, error) {
	r.makers.Add(1)
	defer r.makers.Done()
	if err := r.making.Acquire(r.ctx, 1); err != nil {
		return nil, err
	}
	defer r.making.Release(1)
	old := r.cached(head.Layer)
	if old.versions.has(head.Version) {
		return old, nil
	}
	set, err := explore(r.ctx, r.get, old, head.Version)
	if err != nil {
		return nil, err
	}
	r.keep(head.Layer, set)
	return set, nil
}

// keep puts a set in its place and drops those used least lately for it.
func (r *reach) keep(layer store.LayerID, set *reached) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drop(layer)
	r.clock++
	r.sets[layer] = &reachEntry{set, r.clock}
	r.total += set.bytes()
	for r.total > r.limit && len(r.sets) > 1 {
		oldest := layer
		for id, e := range r.sets {
			if e.used < r.sets[oldest].used {
				oldest = id
			}
		}
		r.drop(oldest)
	}
}

// forget drops the set of a layer that begins anew: what an older one with its
// ID reached may be gone from the store.
func (r *reach) forget(layer store.LayerID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drop(layer)
}

func (r *reach) drop(layer store.LayerID) {
	if e, ok := r.sets[layer]; ok {
		r.total -= e.set.bytes()
		delete(r.sets, layer)
	}
}

// explorer walks what a head reaches beyond an older set.
type explorer struct {
	ctx       context.Context
	get       store.Getter
	old       *reached
	versions  map[prefix]struct{}
	manifests map[prefix]struct{}
	contents  map[prefix]struct{}
}

// explore returns what a head reaches, given what an older head of the layer
// did. If the new one does not descend from that, as when a layer was removed
// and made again, the older set is of no use.
func explore(ctx context.Context, get store.Getter, old *reached, head store.ID) (*reached, error) {
	x := &explorer{
		ctx: ctx, get: get, old: old,
		versions: map[prefix]struct{}{}, manifests: map[prefix]struct{}{}, contents: map[prefix]struct{}{},
	}
	descends, err := x.history(head)
	if err != nil {
		return nil, err
	}
	if !descends && !old.head.IsZero() {
		return explore(ctx, get, &reached{}, head)
	}
	return &reached{
		head:      head,
		versions:  old.versions.with(x.versions),
		manifests: old.manifests.with(x.manifests),
		contents:  old.contents.with(x.contents),
	}, nil
}

// history visits the versions that are not in the older set, with all below
// them, and reports whether it came to that set's head.
func (x *explorer) history(head store.ID) (descends bool, err error) {
	for todo := []store.ID{head}; len(todo) > 0; {
		id := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		descends = descends || id == x.old.head
		if x.old.versions.has(id) || !add(x.versions, id) {
			continue
		}
		refs, err := x.read(id)
		if err != nil {
			return false, err
		}
		if err := x.below(refs.Below); err != nil {
			return false, err
		}
		todo = append(todo, refs.Parents...)
	}
	return descends, nil
}

// below visits manifests and all that is below them.
func (x *explorer) below(todo []store.ID) error {
	for len(todo) > 0 {
		id := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if x.old.manifests.has(id) || !add(x.manifests, id) {
			continue
		}
		refs, err := x.read(id)
		if err != nil {
			return err
		}
		for _, c := range refs.Contents {
			if !x.old.contents.has(c) {
				add(x.contents, c)
			}
		}
		todo = append(todo, refs.Below...)
	}
	return nil
}

func (x *explorer) read(id store.ID) (manifest.Refs, error) {
	b, err := x.get.Get(x.ctx, id)
	if err != nil {
		return manifest.Refs{}, damaged(err)
	}
	refs, err := manifest.ParseRefs(b)
	if err != nil {
		return manifest.Refs{}, damaged(fmt.Errorf("chunk %s: %w", id.Short(), err))
	}
	return refs, nil
}

// damaged is the error of a store that lacks what it must have. It is the
// server's own fault, so it loses what would tell a device otherwise.
func damaged(err error) error {
	if errors.Is(err, context.Canceled) {
		return err // the request has ended, the store is well
	}
	return errors.New("store: " + err.Error())
}

// add reports whether an ID is new to a set.
func add(set map[prefix]struct{}, id store.ID) bool {
	if _, ok := set[prefixOf(id)]; ok {
		return false
	}
	set[prefixOf(id)] = struct{}{}
	return true
}
