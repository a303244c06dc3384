package workspace

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"satchel/store"
	"satchel/store/durable"
)

// ErrUncaptured reports a workspace with work that is in no layer yet.
var ErrUncaptured = errors.New("holds work that is not captured yet")

// ErrSuspended reports a workspace whose guest is suspended: its files are in
// the layers, but what its programs hold in memory is not.
var ErrSuspended = errors.New("is suspended")

// The format of definitions and its version. Version 1 has no IDs, version 2 no
// rules of health and reset.
const (
	definitionFormat  = "satchel workspace"
	definitionVersion = 3
)

// Names in the directory of a set.
const (
	setLock       = ".lock"
	newPrefix     = ".new-"
	removedPrefix = ".removed-"
)

// Names in the directory of a workspace.
const (
	definitionFile = "workspace.json"
	renamedFile    = "renamed.json" // the definition under the name that it is being given
	sessionFile    = "session.json"
	healthFile     = "health.json"
	lockFile       = "lock"
	deltaFile      = "delta.img"
)

// A Set is all workspaces of a home. Its methods may be called from several
// goroutines and processes at once.
type Set struct{ dir string }

// Open returns the workspaces of the home directory home. Nothing has to exist
// yet.
func Open(home string) *Set { return &Set{filepath.Join(home, "workspaces")} }

// Dir is the directory of the workspace called name. A session keeps its files
// there too, under names that do not begin with a dot.
func (s *Set) Dir(name string) string { return filepath.Join(s.dir, name) }

// Delta is where the delta disk of a workspace is. While there is one, the
// workspace holds work: whoever commits what is on it removes it.
func (s *Set) Delta(name string) string { return filepath.Join(s.dir, name, deltaFile) }

// onDisk is a definition as it is written.
type onDisk struct {
	durable.Header
	Definition
}

// Create adds a workspace, made now and with a new ID unless it says otherwise.
// It fails with [store.ErrExist] when the name is taken.
func (s *Set) Create(d Definition) error {
	if d.ID == "" {
		d.ID = newID()
	}
	if d.Created.IsZero() {
		d.Created = time.Now().UTC()
	}
	if err := d.Check(); err != nil {
		return err
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("create workspace %s: %w", d.Name, err)
	}
	err := s.locked(func() error {
		if _, err := os.Lstat(s.Dir(d.Name)); err == nil {
			return store.ErrExist
		}
		tmp := filepath.Join(s.dir, newPrefix+d.Name)
		defer os.RemoveAll(tmp)
		if err := os.MkdirAll(tmp, 0o700); err != nil {
			return err
		}
		if err := writeDefinition(filepath.Join(tmp, definitionFile), d); err != nil {
			return err
		}
		if err := os.Rename(tmp, s.Dir(d.Name)); err != nil {
			return err
		}
		return durable.SyncDir(s.dir)
	})
	if err != nil {
		return fmt.Errorf("create workspace %s: %w", d.Name, err)
	}
	return nil
}

// Load reads the definition of a workspace. It fails with [store.ErrNotExist],
// [store.ErrNewer] or [store.ErrCorrupt].
func (s *Set) Load(name string) (Definition, error) {
	if err := CheckName(name); err != nil {
		return Definition{}, err
	}
	d, err := s.load(name, definitionFile)
	if err == nil && d.Name != name {
		// Its renaming was cut off: then the other definition is its own.
		if renamed, err := s.load(name, renamedFile); err == nil && renamed.Name == name {
			return renamed, nil
		}
		err = fmt.Errorf("its definition is that of %q: %w", d.Name, store.ErrCorrupt)
	}
	if err != nil {
		return Definition{}, fmt.Errorf("workspace %s: %w", name, err)
	}
	return d, nil
}

// load reads a definition in the directory of a workspace, of whatever name.
func (s *Set) load(name, file string) (Definition, error) {
	var d onDisk
	if err := durable.ReadJSON(filepath.Join(s.Dir(name), file), durable.Header{Format: definitionFormat, Version: definitionVersion}, &d); err != nil {
		return Definition{}, err
	}
	if err := d.Check(); err != nil {
		return Definition{}, fmt.Errorf("%w: %w", err, store.ErrCorrupt)
	}
	return d.Definition, nil
}

// writeDefinition replaces the definition at path, durably.
func writeDefinition(path string, d Definition) error {
	return durable.WriteJSON(path, onDisk{durable.Header{Format: definitionFormat, Version: definitionVersion}, d})
}

// List returns the names of all workspaces, in order.
func (s *Set) List() ([]string, error) {
	entries, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list workspaces: %w", err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && CheckName(e.Name()) == nil {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Update changes the definition of a workspace: change is given what it is and
// makes it what it shall be. Its name stays. No other update comes in between.
func (s *Set) Update(name string, change func(*Definition) error) error {
	if _, err := s.Load(name); err != nil {
		return err // before a lock is made for what is not there
	}
	return s.locked(func() error {
		d, err := s.Load(name)
		if err != nil {
			return err
		}
		if err := change(&d); err != nil {
			return err
		}
		d.Name = name
		if err := d.Check(); err != nil {
			return err
		}
		if err := writeDefinition(filepath.Join(s.Dir(name), definitionFile), d); err != nil {
			return fmt.Errorf("update workspace %s: %w", name, err)
		}
		return nil
	})
}

// Rename gives a workspace another name. It fails with [store.ErrExist] when
// that is taken, with [store.ErrBusy] while a session runs, and with
// [ErrSuspended] or [ErrUncaptured] when there is a session's record or a delta
// disk. A crash leaves the one name or the other.
func (s *Set) Rename(old, name string) (err error) {
	if err := CheckName(name); err != nil {
		return err
	}
	unlock, err := s.Lock(old)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if err := s.locked(func() error { return s.rename(old, name) }); err != nil {
		return fmt.Errorf("rename workspace %s: %w", old, err)
	}
	return nil
}

// rename moves a workspace's directory. A definition names its directory, so
// the one for the new name is put beside the old one first: whichever name the
// directory has, one of them is its own.
func (s *Set) rename(old, name string) error {
	d, err := s.Load(old)
	if err != nil || old == name {
		return err
	}
	if err := s.captured(old); err != nil {
		return err
	}
	if _, err := os.Lstat(s.Dir(name)); err == nil {
		return fmt.Errorf("%s: %w", name, store.ErrExist)
	}
	if err := s.settle(old); err != nil {
		return err
	}
	d.Name = name
	if err := writeDefinition(filepath.Join(s.Dir(old), renamedFile), d); err != nil {
		return err
	}
	if err := os.Rename(s.Dir(old), s.Dir(name)); err != nil {
		return err
	}
	if err := durable.SyncDir(s.dir); err != nil {
		return err
	}
	return s.settle(name)
}

// settle puts the one definition of a workspace that is its own in place.
func (s *Set) settle(name string) error {
	d, err := s.load(name, definitionFile)
	if err != nil || d.Name == name {
		return err
	}
	if err := os.Rename(filepath.Join(s.Dir(name), renamedFile), filepath.Join(s.Dir(name), definitionFile)); err != nil {
		return err
	}
	return durable.SyncDir(s.Dir(name))
}

// Remove removes a workspace, but not its layers. It fails with
// [store.ErrBusy] while a session runs, and with [ErrSuspended] or
// [ErrUncaptured] when there is a session's record or a delta disk.
func (s *Set) Remove(name string) error {
	return s.remove(name, func() error { return s.captured(name) })
}

// captured reports [ErrSuspended] or [ErrUncaptured] for a workspace that may
// hold work.
func (s *Set) captured(name string) error {
	if rec, err := s.LoadSession(name); err == nil && rec.State == Suspended {
		return ErrSuspended
	}
	for _, file := range []string{sessionFile, deltaFile} {
		_, err := os.Lstat(filepath.Join(s.Dir(name), file))
		if err == nil {
			return ErrUncaptured
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Discard removes a workspace with the work in it that was not captured. It
// fails with [store.ErrBusy] while a session runs.
func (s *Set) Discard(name string) error {
	return s.remove(name, func() error { return nil })
}

// remove takes a workspace away if check agrees.
func (s *Set) remove(name string, check func() error) (err error) {
	unlock, err := s.Lock(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	err = s.locked(func() error {
		if err := check(); err != nil {
			return err
		}
		gone := filepath.Join(s.dir, removedPrefix+name)
		if err := os.Rename(s.Dir(name), gone); err != nil {
			return err
		}
		return durable.SyncDir(s.dir)
	})
	if err != nil {
		return fmt.Errorf("remove workspace %s: %w", name, err)
	}
	return nil
}

// locked runs f while no other process changes the set, and clears away what
// f and earlier crashes leave behind.
func (s *Set) locked(f func() error) (err error) {
	unlock, err := lockSet(filepath.Join(s.dir, setLock))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if err := s.sweep(); err != nil {
		return err
	}
	if err := f(); err != nil {
		return err
	}
	return s.sweep()
}

// sweep deletes what was removed, and what was never finished.
func (s *Set) sweep() error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), removedPrefix) || strings.HasPrefix(e.Name(), newPrefix) {
			if err := os.RemoveAll(filepath.Join(s.dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
