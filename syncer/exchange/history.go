package exchange

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"satchel/layers/manifest"
	"satchel/store"
	"satchel/store/disk"
	"satchel/syncer"
)

// History fetches the records of want and of what its history holds beyond
// have, into w. It returns those versions, newest first: also those of which an
// earlier call that was cut off had brought the record already. Versions in
// have are in the store with all their history. The caller flushes.
//
// It fails with [syncer.ErrForged] when the server sends anything but records
// of this layer that want's history holds.
func History(ctx context.Context, st *disk.Store, w store.Writer, r syncer.Remote, layer store.LayerID, want store.ID, have []store.ID, opt Options) ([]store.ID, error) {
	h := &annals{fetcher: newFetcher(st, w, r, layer, opt), arrived: map[store.ID]note{}, gone: idSet{}}
	defer h.meter.end()
	found, err := h.fetch(ctx, want, have)
	if err != nil {
		return nil, fmt.Errorf("fetch history of version %s: %w", want.Short(), err)
	}
	slices.Reverse(found)
	return found, nil
}

// annals is the records of a history that is being fetched.
type annals struct {
	*fetcher
	mu      sync.Mutex
	arrived map[store.ID]note
	gone    idSet // in the store, but gc was faster
}

// fetch asks for what is missing until there is nothing more to ask for: an
// answer may end anywhere.
func (h *annals) fetch(ctx context.Context, want store.ID, have []store.ID) ([]store.ID, error) {
	for {
		found, missing, err := beyond(ctx, h.read, want, have)
		if err != nil {
			return nil, err
		}
		if len(missing) == 0 {
			if kept, err := h.keep(ctx, found); err != nil {
				return nil, err
			} else if !kept {
				continue
			}
			if err := h.check(ctx, want); err != nil {
				return nil, err
			}
			return h.exact(ctx, found, have)
		}
		if err := h.ask(ctx, missing[0], have); err != nil {
			return nil, err
		}
	}
}

// ask fetches the record of a version, and what else the answer brings.
func (h *annals) ask(ctx context.Context, version store.ID, have []store.ID) error {
	return again(ctx, h.meter, func() (bool, error) {
		before := len(h.arrived)
		err := h.try(ctx, version, have)
		_, came := h.arrived[version]
		switch {
		case came && (err == nil || wasCut(err)):
			return true, nil
		case err == nil:
			err = fmt.Errorf("the server left out version %s: %w", version.Short(), syncer.ErrUnavailable)
		}
		return len(h.arrived) > before, err
	})
}

func (h *annals) try(ctx context.Context, version store.ID, have []store.ID) error {
	eg, ctx := errgroup.WithContext(ctx)
	err := h.r.History(ctx, h.layer, version, have, h.receive(ctx, eg, h.put))
	if bad := eg.Wait(); bad != nil {
		return bad
	}
	return err
}

// put stages a frame and notes the versions in it.
func (h *annals) put(ctx context.Context, frame []byte) error {
	ids, err := h.stage(ctx, frame)
	if err != nil {
		return err
	}
	return eachChunk(frame, ids, func(id store.ID, chunk []byte) error {
		v, err := manifest.ReadVersion(ctx, inMemory(chunk), id)
		switch {
		case err != nil:
			return fmt.Errorf("%w: %w", syncer.ErrForged, err)
		case v.Layer != h.layer:
			return fmt.Errorf("version %s is of layer %s: %w", id.Short(), v.Layer, syncer.ErrForged)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		if _, ok := h.arrived[id]; !ok {
			h.meter.moved(1, int64(len(chunk)), 0)
		}
		if h.arrived[id] = (note{v.Parents, v.Time}); len(h.arrived) > maxHistory {
			return fmt.Errorf("a history of more than %d versions: %w", maxHistory, syncer.ErrTooLarge)
		}
		return nil
	})
}

// inMemory is a chunk that is at hand.
type inMemory []byte

func (b inMemory) Get(context.Context, store.ID) ([]byte, error) { return b, nil }

// read looks for a version among those that have arrived, then in the store.
func (h *annals) read(ctx context.Context, id store.ID) (note, bool, error) {
	if n, ok := h.arrived[id]; ok {
		return n, true, nil
	}
	if h.gone.has(id) {
		return note{}, false, nil
	}
	return readNote(h.st)(ctx, id)
}

// readNote reads records in a store.
func readNote(g store.Getter) noteReader {
	return func(ctx context.Context, id store.ID) (note, bool, error) {
		v, err := manifest.ReadVersion(ctx, g, id)
		if errors.Is(err, store.ErrNotExist) {
			return note{}, false, nil
		}
		return note{v.Parents, v.Time}, err == nil, err
	}
}

// keep has the writer keep the records that were in the store. It reports
// whether all of them still are.
func (h *annals) keep(ctx context.Context, found []store.ID) (bool, error) {
	has, err := h.w.Has(context.WithoutCancel(ctx), found)
	if err != nil {
		return false, err
	}
	for i, id := range found {
		if !has[i] {
			h.gone.add(id)
		}
	}
	return !slices.Contains(has, false), nil
}

// check reports versions that have arrived but that want's history does not
// hold.
func (h *annals) check(ctx context.Context, want store.ID) error {
	left := len(h.arrived)
	err := history(ctx, h.read, []store.ID{want}, func(id store.ID) bool {
		if _, ok := h.arrived[id]; ok {
			left--
		}
		return left > 0
	})
	if err == nil && left > 0 {
		err = fmt.Errorf("%d versions that its history does not hold: %w", left, syncer.ErrForged)
	}
	return err
}

// exact looks again, more thoroughly, if a version that was in the store before
// would be returned: if it is in the history of have after all, it is complete,
// and must not be taken for one that is not.
func (h *annals) exact(ctx context.Context, found, have []store.ID) ([]store.ID, error) {
	had, err := h.st.Has(ctx, found)
	if err != nil || !slices.Contains(had, true) {
		return found, err
	}
	return without(ctx, h.read, found, have)
}
