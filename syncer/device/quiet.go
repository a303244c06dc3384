package device

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"satchel/layers/workspace"
	"satchel/store"
	"satchel/store/disk"
)

// alone keeps agents, syncs and sessions away.
func (e *enrolment) alone() (unlock func() error, err error) {
	var held []func() error
	release := func() (err error) {
		for _, unlock := range held {
			err = errors.Join(err, unlock())
		}
		return err
	}
	for _, name := range []string{agentLock, syncLock} {
		unlock, err := tryLock(filepath.Join(e.dir, name))
		if errors.Is(err, store.ErrBusy) {
			err = fmt.Errorf("%w (end satchel agent and satchel sync first)", err)
		}
		if err != nil {
			return nil, errors.Join(err, release())
		}
		held = append(held, unlock)
	}
	return release, nil
}

// quiet takes the locks of all workspaces, and fails with [store.ErrBusy] when
// one has a session: what a session lies on and is captured against goes by
// names that change with the domain.
func (e *enrolment) quiet() (unlock func() error, err error) {
	set := workspace.Open(e.dir)
	names, err := set.List()
	if err != nil {
		return nil, err
	}
	var held []func() error
	release := func() (err error) {
		for _, unlock := range held {
			err = errors.Join(err, unlock())
		}
		return err
	}
	for _, name := range names {
		unlock, err := set.Lock(name)
		if errors.Is(err, store.ErrBusy) {
			err = fmt.Errorf("%w (satchel stop %s first)", err, name)
		}
		if err == nil {
			held = append(held, unlock)
			err = captured(set, name)
		}
		if err != nil {
			return nil, errors.Join(err, release())
		}
	}
	return release, nil
}

// captured reports a workspace with work that is in no layer yet.
func captured(set *workspace.Set, name string) error {
	rec, session := set.LoadSession(name)
	if session == nil && rec.State == workspace.Suspended {
		return fmt.Errorf("workspace %s %w: %w (satchel run %s and satchel stop %s first)", name, workspace.ErrSuspended, store.ErrBusy, name, name)
	}
	_, delta := os.Lstat(set.Delta(name))
	if errors.Is(session, store.ErrNotExist) && errors.Is(delta, os.ErrNotExist) {
		return nil
	}
	return fmt.Errorf("workspace %s: %w: %w (satchel capture %s first)", name, workspace.ErrUncaptured, store.ErrBusy, name)
}

// idle fails with [store.ErrBusy] when the home has a store that is in use.
func (e *enrolment) idle(ctx context.Context) (err error) {
	st, err := disk.Open(filepath.Join(e.dir, storeDir))
	if errors.Is(err, store.ErrNotExist) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	_, err = unused(ctx, st)
	return err
}

// unused returns the heads of a store, or fails with [store.ErrBusy] when a
// process writes to it or holds versions of it.
func unused(ctx context.Context, st *disk.Store) ([]store.Head, error) {
	stats, err := st.Stats(ctx)
	if err != nil {
		return nil, err
	}
	if stats.Leases > 0 {
		return nil, fmt.Errorf("the store of this home: %w (end what uses it first: sessions, imports, mounts)", store.ErrBusy)
	}
	return st.Heads().List(ctx)
}
