package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"satchel/store"
	"satchel/store/heads"
	"satchel/store/index"
)

// GCResult tells what gc did.
type GCResult struct {
	SweptChunks int64 `json:"swept_chunks"` // chunks removed from the index
	SweptBytes  int64 `json:"swept_bytes"`  // plaintext bytes of those
	Condemned   int64 `json:"condemned"`    // unreached chunks kept because a writer may still want them
	Removed     int64 `json:"removed"`      // packs removed
	Repacked    int64 `json:"repacked"`     // of those, packs whose live chunks were copied
	FreedBytes  int64 `json:"freed_bytes"`  // bytes of the packs removed, less those of new ones
	Adopted     int64 `json:"adopted"`      // packs found that a crash kept out of the index
	Litter      int64 `json:"litter"`       // temporary files removed
}

// GC removes what neither a head nor a lease reaches, nor a version that keep
// names. Keep is asked after the leases have been read, so that what comes to be
// kept before its lease ends is kept throughout; a version that is not there is
// passed over. It blocks nobody for
// long and may run while others read, write, commit or themselves die. Only
// one gc runs at a time; a second fails with [store.ErrBusy]. When the walk
// fails, because a chunk is missing or damaged, nothing is removed.
//
// The algorithm and its proof are in docs/durability.md.
func (s *Store) GC(ctx context.Context, walk store.Walker, keep ...func() ([]store.ID, error)) (GCResult, error) {
	return s.gc(ctx, walk, sparse, keep)
}

// Shrink is GC that frees nearly all that is not needed, at the price of more
// copying: no pack stays of which more than a tenth is dead, or a fifth if it was
// recompressed.
func (s *Store) Shrink(ctx context.Context, walk store.Walker, keep ...func() ([]store.ID, error)) (GCResult, error) {
	return s.gc(ctx, walk, dense, keep)
}

func (s *Store) gc(ctx context.Context, walk store.Walker, least share, keep []func() ([]store.ID, error)) (GCResult, error) {
	var res GCResult
	unlock, err := s.lockGC()
	if err != nil {
		return res, err
	}
	defer unlock()
	if err := s.tidy(ctx, &res); err != nil {
		return res, fmt.Errorf("gc: %w", err)
	}
	// The first round condemns what the second may sweep.
	for range 2 {
		if err := s.round(ctx, walk, keep, &res); err != nil {
			return res, fmt.Errorf("gc: %w", err)
		}
		if res.Condemned == 0 {
			break
		}
	}
	if err := s.compact(ctx, least, &res); err != nil {
		return res, fmt.Errorf("gc: %w", err)
	}
	return res, nil
}

// lockGC makes sure that only one process collects or rebuilds. The lock goes
// with the process.
func (s *Store) lockGC() (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(s.dir, gcLockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return func() {
			// Closing does not do while a program that is being started still
			// has its copy of the descriptor.
			unix.Flock(int(f.Fd()), unix.LOCK_UN) //nolint:errcheck // closing follows
			f.Close()                             // nothing was written
		}, nil
	}
	f.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, fmt.Errorf("%s: %w: gc or a rebuilding of the index is running", f.Name(), store.ErrBusy)
	}
	return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
}

// round looks once at what is reached. The order in which it looks is what
// makes it safe: writers first, then chunks, then roots.
func (s *Store) round(ctx context.Context, walk store.Walker, keep []func() ([]store.ID, error), res *GCResult) error {
	before, err := s.heads.State(ctx)
	if err != nil {
		return err
	}
	candidates, err := s.index.Candidates(ctx)
	if err != nil {
		return err
	}
	now, err := s.heads.State(ctx)
	if err != nil {
		return err
	}
	kept, err := s.kept(ctx, keep)
	if err != nil {
		return err
	}
	m := newMarks(candidates)
	for _, root := range append(now.Roots(), kept...) {
		if err := walk(ctx, root, m.visit); err != nil {
			return fmt.Errorf("walk from version %s: %w: this round removes nothing", root.Short(), err)
		}
	}
	v := judge(candidates, m, before)
	if err := s.enforce(ctx, v, candidates, before.Epoch, res); err != nil {
		return err
	}
	res.Condemned = int64(len(v.condemn) + v.waiting)
	return s.heads.Advance(ctx)
}

// kept returns the versions that are to be kept and are there.
func (s *Store) kept(ctx context.Context, keep []func() ([]store.ID, error)) (kept []store.ID, err error) {
	ids, err := askAll(keep)
	if err != nil {
		return nil, err
	}
	entries, err := s.index.Lookup(ctx, ids)
	if err != nil {
		return nil, err
	}
	for i, e := range entries {
		if e.Found {
			kept = append(kept, ids[i])
		}
	}
	return kept, nil
}

// askAll returns what all of those who keep versions name.
func askAll(keep []func() ([]store.ID, error)) (all []store.ID, err error) {
	for _, ask := range keep {
		ids, err := ask()
		if err != nil {
			return nil, err
		}
		all = append(all, ids...)
	}
	return all, nil
}

// enforce does what a round has decided.
func (s *Store) enforce(ctx context.Context, v verdicts, candidates *index.Candidates, epoch uint64, res *GCResult) error {
	for some := range slices.Chunk(v.pardon, verdictBatch) {
		if err := s.index.Pardon(ctx, idsAt(candidates, some)); err != nil {
			return err
		}
	}
	for some := range slices.Chunk(v.sweep, verdictBatch) {
		doomed := make([]index.Candidate, len(some))
		for i, place := range some {
			doomed[i] = candidates.At(int(place))
		}
		chunks, size, err := s.index.Sweep(ctx, doomed)
		res.SweptChunks += chunks
		res.SweptBytes += size
		if err != nil {
			return err
		}
	}
	for some := range slices.Chunk(v.condemn, verdictBatch) {
		if err := s.index.Condemn(ctx, idsAt(candidates, some), epoch); err != nil {
			return err
		}
	}
	return nil
}

// verdictBatch is how many candidates are copied at once.
const verdictBatch = 1 << 14

func idsAt(candidates *index.Candidates, places []uint32) []store.ID {
	ids := make([]store.ID, len(places))
	for i, place := range places {
		ids[i] = candidates.At(int(place)).ID
	}
	return ids
}

// verdicts is what a round decides: places of candidates, of which no memory
// holds more than 32 bits can count.
type verdicts struct {
	pardon  []uint32 // condemned, but reached by now
	sweep   []uint32 // condemned, and nobody can want them any more
	condemn []uint32 // newly found unreached
	waiting int      // condemned, but a writer may want them
}

// judge decides from what was seen. A chunk that was condemned in epoch v may
// be swept when an epoch has ended since and no writer that began in epoch v
// or before was alive when the round began: whoever began later has seen the
// condemnation and has rescued what it wanted.
func judge(candidates *index.Candidates, m *marks, before heads.State) (v verdicts) {
	oldest := before.Epoch
	for _, l := range before.Leases {
		if l.Writer {
			oldest = min(oldest, l.Epoch)
		}
	}
	for i, c := range candidates.All() {
		switch reached := m.has(i); {
		case reached && c.Condemned > 0:
			v.pardon = append(v.pardon, uint32(i))
		case reached:
		case c.Condemned == 0:
			v.condemn = append(v.condemn, uint32(i))
		case c.Condemned-1 < oldest:
			v.sweep = append(v.sweep, uint32(i))
		default:
			v.waiting++
		}
	}
	return v
}

// tidy removes what dead processes left, and names in the index the packs that
// they had no time to name: whether those are wanted is then decided like for
// any other.
func (s *Store) tidy(ctx context.Context, res *GCResult) error {
	litter, err := os.ReadDir(filepath.Join(s.dir, tmpName))
	if err != nil {
		return err
	}
	packs, err := s.packFiles()
	if err != nil {
		return err
	}
	// Leases come after the files and the index after the leases: a pack whose
	// writer ended well in between is in the index by then.
	state, err := s.heads.Bury(ctx)
	if err != nil {
		return err
	}
	for _, f := range litter {
		if state.Alive(packOwner(f.Name())) {
			continue
		}
		if err := s.fs.Remove(s.tmp(f.Name())); err != nil {
			return err
		}
		res.Litter++
	}
	known, err := s.knownPacks(ctx)
	if err != nil {
		return err
	}
	for _, p := range packs {
		if known[p.name] || state.Alive(packOwner(p.name)) {
			continue
		}
		// A pack that cannot be read is left for people to look at.
		if frames, err := s.readDirectory(p.name); err == nil {
			if err := s.index.Add(ctx, p.name, p.size, frames); err != nil {
				return err
			}
			res.Adopted++
		} else if !errors.Is(err, store.ErrCorrupt) {
			return err
		}
	}
	return nil
}

func (s *Store) knownPacks(ctx context.Context) (map[string]bool, error) {
	packs, err := s.index.Packs(ctx)
	if err != nil {
		return nil, err
	}
	known := make(map[string]bool, len(packs))
	for _, p := range packs {
		known[p.Name] = true
	}
	return known, nil
}
