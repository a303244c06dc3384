// Package disk is the durable store in a directory: packs, index, heads and
// leases, joined in the one order that a crash cannot hurt.
//
// The directory holds
//
//	config.json     version and domain; secret
//	packs/xx/NAME   immutable pack files
//	index.db        which pack holds which chunk; can be rebuilt
//	heads.db        heads, leases, epoch
//	leases/NAME     locked by the process that holds the lease
//	tmp/            packs that are being written
//	gc.lock         locked by gc, and by the rebuilding of the index
//
// Any number of processes may use a store at once.
//
// Invariants:
//
//   - A pack is durable before the index names it; the index names it before
//     Flush returns. docs/durability.md lists what a crash at each step leaves.
//   - A chunk that Put, PutFrame or a writer's Has reported present stays until
//     the writer closes.
//   - What Get returns has the hash it was asked for.
//
// The one idea: nothing is ever repaired on opening, because nothing is ever
// left in need of repair; leftovers are only garbage, which gc removes.
package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"satchel/store"
	"satchel/store/chunk"
	"satchel/store/durable"
	"satchel/store/heads"
	"satchel/store/index"
)

// A Store is a store in a directory. Its methods may be called from several
// goroutines at once.
type Store struct {
	dir    string
	fs     durable.FS
	config config
	index  *index.Index
	heads  *heads.Heads
	reader *reader
}

var (
	_ store.Lender = (*Store)(nil)
	_ store.Haser  = (*Store)(nil)
)

// The names in a store's directory.
const (
	configName = "config.json"
	indexName  = "index.db"
	headsName  = "heads.db"
	packsName  = "packs"
	leasesName = "leases"
	tmpName    = "tmp"
	gcLockName = "gc.lock"
)

// Create makes a new store in a domain of its own and opens it. The directory
// must be empty or not be there yet; else Create fails with [store.ErrExist].
func Create(dir string) (*Store, error) {
	d, err := chunk.NewDomain()
	if err != nil {
		return nil, err
	}
	return create(dir, d, durable.FS{})
}

// CreateIn makes a new store in the given domain and opens it, as Create does.
func CreateIn(dir string, d chunk.Domain) (*Store, error) { return create(dir, d, durable.FS{}) }

// OpenFaulty opens a store for tests of what is built upon it. Before each
// durable step fault is asked: nil lets the step be, an error fails it, and
// happens says that it took effect all the same, as when power fails just after.
// A test whose store has lost power closes it and opens the directory anew.
func OpenFaulty(dir string, fault func(op, file string) (err error, happens bool)) (*Store, error) { //nolint:revive // the error is what the step is to report
	return open(dir, durable.FS{Fault: func(s durable.Step) (error, bool) { return fault(s.Op, s.Name) }})
}

// create writes the configuration last: a directory without one is no store,
// and Create may be tried again on what a crash left.
func create(dir string, d chunk.Domain, fsys durable.FS) (*Store, error) {
	if _, err := os.Lstat(filepath.Join(dir, configName)); err == nil {
		return nil, fmt.Errorf("create store in %s: %w", dir, store.ErrExist)
	}
	if err := checkUnused(dir); err != nil {
		return nil, err
	}
	s := newStore(dir, config{Version: version, Domain: d}, fsys)
	for _, name := range []string{packsName, leasesName, tmpName} {
		if err := fsys.Mkdir(filepath.Join(dir, name)); err != nil {
			return nil, fmt.Errorf("create store: %w", err)
		}
	}
	if err := s.heads.Init(s.tmp("heads.db")); err != nil {
		return nil, err
	}
	if err := s.index.Create(s.tmp("index.db")); err != nil {
		return nil, err
	}
	if err := s.config.write(fsys, filepath.Join(dir, configName)); err != nil {
		return nil, err
	}
	return s, nil
}

// checkUnused refuses a directory that holds anything but what an interrupted
// Create leaves.
func checkUnused(dir string) error {
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("create store: %w", err)
	}
	for _, f := range files {
		switch f.Name() {
		case packsName, leasesName, tmpName, indexName, headsName:
		default:
			if ok, _ := filepath.Match(durable.TempPattern, f.Name()); !ok {
				return fmt.Errorf("create store in %s: it holds %q: %w", dir, f.Name(), store.ErrExist)
			}
		}
	}
	packs, err := os.ReadDir(filepath.Join(dir, packsName))
	if err == nil && len(packs) > 0 {
		return fmt.Errorf("create store in %s: it holds packs but no %s: %w", dir, configName, store.ErrExist)
	}
	return nil
}

// Open opens a store. It fails with [store.ErrNotExist] where there is none,
// with [store.ErrNewer] where a later version of satchel wrote it, and with
// [store.ErrCorrupt] where its configuration is damaged. Index and heads are
// looked at when they are first used.
func Open(dir string) (*Store, error) { return open(dir, durable.FS{}) }

func open(dir string, fsys durable.FS) (*Store, error) {
	c, err := readConfig(filepath.Join(dir, configName))
	if err != nil {
		return nil, err
	}
	return newStore(dir, c, fsys), nil
}

func newStore(dir string, c config, fsys durable.FS) *Store {
	s := &Store{dir: dir, fs: fsys, config: c}
	s.index = index.New(filepath.Join(dir, indexName), fsys)
	s.heads = heads.New(filepath.Join(dir, headsName), filepath.Join(dir, leasesName), fsys)
	s.reader = newReader(s)
	return s
}

// Close lets go of what the store holds in memory. Writers and holds should
// have ended: those that have not lose their leases, as if the process had
// died, and such writers take nothing more.
func (s *Store) Close() error {
	s.heads.Abandon()
	return s.reader.close()
}

// Dir returns the store's directory.
func (s *Store) Dir() string { return s.dir }

// Domain returns the domain that the store's chunks are named in. Its key and
// polynomial are secret.
func (s *Store) Domain() chunk.Domain { return s.config.Domain }

// Heads returns the heads of the store's layers.
func (s *Store) Heads() store.Heads { return s.heads }

// Has answers for each ID in turn whether the store holds the chunk. Chunks
// that gc has condemned count as absent: only a writer may still save them.
func (s *Store) Has(ctx context.Context, ids []store.ID) ([]bool, error) {
	entries, err := s.index.Lookup(ctx, ids)
	if err != nil {
		return nil, err
	}
	has := make([]bool, len(ids))
	for i, e := range entries {
		has[i] = e.Found && !e.Condemned
	}
	return has, nil
}

// Hold keeps gc from what the roots reach until release is called or the
// process ends. A running guest holds the versions it is composed of. It fails
// with [store.ErrNotExist] when a root is gone already, or only its record is
// left: a root must be where a head is, or be held by another, when it is taken.
func (s *Store) Hold(ctx context.Context, purpose string, roots ...store.ID) (release func() error, err error) {
	lease, err := s.heads.Lease(ctx, purpose, false, roots...)
	if err != nil {
		return nil, err
	}
	release = func() error { return lease.Release(context.WithoutCancel(ctx)) }
	entries, err := s.index.Lookup(ctx, roots)
	if err != nil {
		return nil, errors.Join(err, release())
	}
	for i, e := range entries {
		if !e.Found {
			err := fmt.Errorf("hold version %s: %w", roots[i].Short(), store.ErrNotExist)
			return nil, errors.Join(err, release())
		}
	}
	// What is evicted from now on is not what the lease reads from.
	partial, err := s.heads.Partial(ctx)
	if err != nil {
		return nil, errors.Join(err, release())
	}
	for _, id := range roots {
		if _, ok := partial[id]; ok {
			err := fmt.Errorf("hold version %s, of which only the record is here: what it holds %w", id.Short(), store.ErrNotExist)
			return nil, errors.Join(err, release())
		}
	}
	return release, nil
}

// Held returns the versions that live leases read from. All of them are whole.
func (s *Store) Held(ctx context.Context) (held []store.ID, err error) {
	state, err := s.heads.State(ctx)
	for _, l := range state.Leases {
		held = append(held, l.Roots...)
	}
	return held, err
}

func (s *Store) tmp(name string) string { return filepath.Join(s.dir, tmpName, name) }

// packPath returns the name of a pack's file.
func (s *Store) packPath(name string) string {
	return filepath.Join(s.dir, packsName, name[:2], name+packSuffix)
}
