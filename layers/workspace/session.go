package workspace

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"satchel/layers"
	"satchel/store"
	"satchel/store/durable"
)

// The format of records and its version. Version 1 knows of no suspended ones,
// version 2 of none that have a disk.
const (
	sessionFormat  = "satchel session"
	sessionVersion = 3
)

// A State says how far a session has come.
type State string

// The states of a session, in order.
const (
	Starting  State = "starting"  // the guest is not up yet
	Running   State = "running"   // the guest is up
	Stopping  State = "stopping"  // the guest was told to stop
	Capturing State = "capturing" // the guest is gone; its work is being committed
	Suspended State = "suspended" // the machine is on disk; no process runs it
)

func (s State) valid() bool {
	switch s {
	case Starting, Running, Stopping, Capturing, Suspended:
		return true
	}
	return false
}

// A Pin names the version of one layer in a session.
type Pin struct {
	Kind    layers.Kind   `json:"kind"`
	Layer   store.LayerID `json:"layer"`
	Name    string        `json:"name"`
	Version store.ID      `json:"version"` // zero: the layer was empty
}

// A Session is the record of one run of a guest.
type Session struct {
	Started time.Time `json:"started"`
	State   State     `json:"state"`
	Process Process   `json:"process"` // that runs the session
	Delta   string    `json:"delta"`   // path of its delta disk, or overlay
	// Composed are the versions of which the guest's file tree is made, lowest
	// first. What is on the delta disk are changes to just these.
	Composed []Pin `json:"composed"`
	// Captured are the versions that captures of this session made, or were
	// about to make.
	Captured []Pin `json:"captured"`
	// Suspension is what the machine needs to go on, in state [Suspended] only.
	Suspension *Suspension `json:"suspension,omitempty"`
}

// Alive reports whether the process that runs the session still does. If not,
// the session crashed, and what is on its delta disk waits to be captured.
func (s *Session) Alive() bool { return s.Process.Alive() }

// check reports what makes a record impossible.
func (s *Session) check() error {
	switch {
	case !s.State.valid():
		return fmt.Errorf("unknown state %q", s.State)
	case (s.State == Suspended) != (s.Suspension != nil):
		return fmt.Errorf("state %q, but suspension %v", s.State, s.Suspension)
	case s.Suspension != nil:
		return s.Suspension.check()
	}
	return nil
}

type sessionOnDisk struct {
	durable.Header
	Session
}

// SaveSession writes the record of a workspace's session, durably. Only who
// holds the workspace's lock may.
func (s *Set) SaveSession(name string, rec Session) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if err := rec.check(); err != nil {
		return fmt.Errorf("session of workspace %s: %w", name, err)
	}
	err := durable.WriteJSON(s.sessionPath(name), sessionOnDisk{durable.Header{Format: sessionFormat, Version: sessionVersion}, rec})
	if err != nil {
		return fmt.Errorf("session of workspace %s: %w", name, err)
	}
	return nil
}

// LoadSession reads the record of a workspace's session, or fails with
// [store.ErrNotExist], [store.ErrNewer] or [store.ErrCorrupt].
func (s *Set) LoadSession(name string) (Session, error) {
	if err := CheckName(name); err != nil {
		return Session{}, err
	}
	var rec sessionOnDisk
	err := durable.ReadJSON(s.sessionPath(name), durable.Header{Format: sessionFormat, Version: sessionVersion}, &rec)
	if err == nil {
		if err = rec.check(); err != nil {
			err = fmt.Errorf("%w: %w", err, store.ErrCorrupt)
		}
	}
	if err != nil {
		return Session{}, fmt.Errorf("session of workspace %s: %w", name, err)
	}
	return rec.Session, nil
}

// ClearSession removes the record of a session whose work is committed. That
// there is none is no error.
func (s *Set) ClearSession(name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	err := os.Remove(s.sessionPath(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = durable.SyncDir(s.Dir(name))
	}
	if err != nil {
		return fmt.Errorf("session of workspace %s: %w", name, err)
	}
	return nil
}

func (s *Set) sessionPath(name string) string { return filepath.Join(s.Dir(name), sessionFile) }
