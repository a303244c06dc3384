// Package session runs workspaces: a session is one run of a workspace, from
// the composed image to the captured delta disk.
//
// # Vocabulary
//
// A [Host] is a home that sessions run out of. A [Session] is a running guest
// and the process that supervises it. Its record, kept in the workspace, names
// the versions that the session was composed from; as long as the record and
// the delta disk exist, the session has changes that are not captured.
//
// # Invariants
//
//   - The record is durable before the delta disk exists, and goes after it.
//     So a delta disk always says what it lies on.
//   - A delta disk is removed only after a compare-and-swap has moved the heads
//     of all layers that received its changes, together.
//   - Whatever is left of an earlier session is captured before a new one starts.
//   - Capturing the same delta disk again changes nothing.
//   - A suspended machine goes on once, and only over the disk and the image
//     that it left: the record changes before its processors run.
//
// # The one idea
//
// A session is a function of the versions it starts from and the delta disk it
// leaves. Both outlive any crash, so capture can always be done, or done again.
package session

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"satchel/layers/repo"
	"satchel/layers/workspace"
	"satchel/store"
	"satchel/store/disk"
)

// A Host runs the sessions of one home.
type Host struct {
	Home       string // absolute path
	Store      *disk.Store
	Repo       *repo.Repo
	Workspaces *workspace.Set
	// Contents reads chunks that may have to be fetched first. Nil: all are in
	// the store.
	Contents store.Getter
	// Waiting reports whether somebody waits for Contents to come from elsewhere.
	// Nil: nobody ever does.
	Waiting func() bool
	// Note tells a person what is going on, a line a call. Nil: silence.
	Note func(format string, args ...any)

	step func(name string) // told how far a suspension is; nil but in tests
}

func (h *Host) note(format string, args ...any) {
	if h.Note != nil {
		h.Note(format, args...)
	}
}

// guestBinary reads satchel-guest, the static binary that becomes the guest's
// init and agent: from $SATCHEL_GUEST, from beside this executable, or from
// where an installation puts it.
func guestBinary() ([]byte, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find satchel-guest: %w", err)
	}
	dir := filepath.Dir(exe)
	places := []string{os.Getenv("SATCHEL_GUEST"), filepath.Join(dir, "satchel-guest"), filepath.Join(dir, "../lib/satchel/satchel-guest")}
	for _, place := range places {
		if place == "" {
			continue
		}
		if b, err := os.ReadFile(place); err == nil {
			return b, nil
		}
	}
	return nil, fmt.Errorf("satchel-guest is not beside %s, nor in ../lib/satchel: build both with make, or name it in $SATCHEL_GUEST", exe)
}

// cacheDir holds what this host has found out and can find out again.
func (h *Host) cacheDir() string { return filepath.Join(h.Home, "cache") }

// idle takes the workspace for this process, captures what an earlier session
// left, and ends a trial that has failed. The returned function gives the workspace back.
func (h *Host) idle(ctx context.Context, name string) (release func() error, got *Captured, err error) {
	release, err = h.Workspaces.Lock(name)
	if errors.Is(err, store.ErrBusy) {
		err = fmt.Errorf("%w (satchel stop %s ends a running session)", err, name)
	}
	if err != nil {
		return nil, nil, err
	}
	got, err = h.recover(ctx, name)
	if err == nil {
		err = h.conclude(ctx, name)
	}
	if err == nil {
		err = sweep(filepath.Join(h.Workspaces.Dir(name), recordFile))
	}
	if err != nil {
		return nil, nil, errors.Join(err, release())
	}
	return release, got, nil
}

// Settle takes the workspace, captures what an earlier session left, and calls
// fn while no session can start.
func (h *Host) Settle(ctx context.Context, name string, fn func() error) (*Captured, error) {
	release, got, err := h.idle(ctx, name)
	if err != nil {
		return nil, err
	}
	if fn != nil {
		err = fn()
	}
	return got, errors.Join(err, release())
}

// Using lists the workspaces whose sessions, running or not yet captured, were
// composed from the layer.
func (h *Host) Using(layer store.LayerID) ([]string, error) {
	all, err := h.Workspaces.List()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, name := range all {
		rec, err := h.Workspaces.LoadSession(name)
		if errors.Is(err, store.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, pin := range rec.Composed {
			if pin.Layer == layer && pin.Kind.Writable() {
				names = append(names, name)
			}
		}
	}
	return names, nil
}
