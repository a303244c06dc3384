package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync/atomic"
	"time"

	"satchel/layers"
	"satchel/layers/ingest"
	"satchel/layers/repo"
	"satchel/layers/workspace"
	"satchel/store"
	"satchel/vmm/overlay"
)

// settle captures what the session wrote, and removes it.
func (s *Session) settle(ctx context.Context) (*Captured, error) {
	if s.disk != nil {
		return s.host.settleDisk(ctx, s.name, s.rec)
	}
	return s.host.settle(ctx, s.name, s.rec, s.stack)
}

// settleDisk captures what a guest wrote over its disk, and then removes it and
// the record. When it fails both stay, so that it can be done again.
func (h *Host) settleDisk(ctx context.Context, name string, rec *workspace.Session) (*Captured, error) {
	got, err := h.captureDisk(ctx, name, rec)
	if err != nil {
		return nil, h.kept(name, rec, err)
	}
	return &got, h.discard(name, rec.Delta)
}

// discard removes an overlay, its map first, and then the record.
func (h *Host) discard(name, data string) error {
	if err := errors.Join(remove(overlay.MapOf(data)), sweep(data)); err != nil {
		return fmt.Errorf("remove the captured overlay: %w", err)
	}
	if err := h.Workspaces.ClearMachine(name); err != nil { // which a suspension was about to keep
		return err
	}
	return h.Workspaces.ClearSession(name)
}

// discardUnused is discard for an overlay that nobody has written to; one that
// somebody did the next start captures.
func (h *Host) discardUnused(name, data string) error {
	_, blocks, err := overlay.Written(data)
	if err != nil && !errors.Is(err, fs.ErrNotExist) || blocks > 0 {
		return err
	}
	return h.discard(name, data)
}

// captureDisk makes a version of the system layer of the disk as it is now. It
// reads what was written and what shares chunks with that, whatever the size of
// the disk. Doing it again commits nothing new.
func (h *Host) captureDisk(ctx context.Context, name string, rec *workspace.Session) (got Captured, err error) {
	begun := time.Now()
	got.Workspace = name
	if _, blocks, err := overlay.Written(rec.Delta); errors.Is(err, fs.ErrNotExist) || err == nil && blocks == 0 {
		return got, nil
	}
	unhold, err := h.Store.Hold(ctx, "capture "+name, roots(rec.Composed)...)
	if err != nil {
		return got, err
	}
	defer func() { err = errors.Join(err, unhold()) }()
	d, err := h.diskOf(ctx, rec.Composed)
	if err == nil && d == nil {
		err = errors.New("its layers are no disk")
	}
	if err != nil {
		return got, err
	}
	w, err := h.Store.Begin(ctx, "capture "+name)
	if err != nil {
		return got, err
	}
	defer w.Close()
	tree, changes, err := h.recut(ctx, w, rec, d, &got)
	if err != nil || changes == 0 {
		return got, err
	}
	for range maxTries {
		if err = h.landDisk(ctx, w, rec, d, tree, changes, &got); !errors.Is(err, store.ErrMoved) {
			break
		}
	}
	got.Seconds = time.Since(begun).Seconds()
	return got, err
}

// recut stores the disk as it is now, and returns in how many places it was
// written, none if it is as it was.
func (h *Host) recut(ctx context.Context, w store.Writer, rec *workspace.Session, d *guestDisk, got *Captured) (tree layers.Tree, changes int, err error) {
	lower, old, err := h.openDisk(ctx, d)
	if err != nil {
		return nil, 0, err
	}
	top, err := overlay.Open(rec.Delta, lower, d.below.Version)
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, top.Close()) }()
	// The time is the session's, so that a capture done again makes the same tree.
	tree = layers.Tree{{Path: layers.DiskPath, Type: layers.Regular, Mode: 0o600, ModTime: layers.TimeOf(rec.Started)}}
	dirty, from := top.Dirty(), &counted{Disk: top}
	pl := ingest.New(ctx, w, h.Store.Domain())
	if err := errors.Join(pl.Recut(&tree[0], old.Extents, dirty, from), pl.Wait()); err != nil {
		return nil, 0, err
	}
	got.ReadBytes = from.read.Load()
	for _, r := range dirty {
		for off := r.Off; off < r.End; {
			zeros := min(top.Zeros(off), r.End-off)
			step := max(zeros, overlay.BlockSize)
			if zeros == 0 {
				got.WrittenBytes += overlay.BlockSize
			}
			off += step
		}
	}
	if tree[0].SameContent(old) {
		return nil, 0, nil
	}
	return tree, len(dirty), nil
}

// counted counts what is read of a disk.
type counted struct {
	*overlay.Disk
	read atomic.Int64
}

// ReadAt implements [io.ReaderAt].
func (c *counted) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.Disk.ReadAt(p, off)
	c.read.Add(int64(n))
	if errors.Is(err, io.EOF) && n == len(p) {
		err = nil
	}
	return n, err
}

// landDisk moves the system layer's head to the disk. Disks cannot be merged: if
// the head was moved meanwhile, the session's disk, the newest there is, becomes
// the head, and what was there stays in the history, as a parent.
func (h *Host) landDisk(ctx context.Context, w store.Writer, rec *workspace.Session, d *guestDisk, tree layers.Tree, changes int, got *Captured) error {
	i := slices.IndexFunc(rec.Composed, func(p workspace.Pin) bool { return p.Kind == layers.System })
	if i < 0 {
		return errors.New("its record names no system layer")
	}
	pin := rec.Composed[i]
	head, err := h.Store.Heads().Head(ctx, pin.Layer)
	if err != nil {
		return fmt.Errorf("layer %s: %w", pin.Name, err)
	}
	c := repo.Commit{Head: head, Kind: layers.System, Form: layers.Disk, On: d.on, Tree: tree, Message: "captured from " + got.Workspace}
	got.Notes = nil
	own := slices.ContainsFunc(rec.Captured, func(p workspace.Pin) bool { return p.Layer == pin.Layer && p.Version == head.Version })
	if head.Version != pin.Version && !own {
		c.Parents = []store.ID{head.Version}
		if !pin.Version.IsZero() {
			c.Parents = append(c.Parents, pin.Version)
		}
		got.Notes = []string{fmt.Sprintf("layer %s was moved to %s meanwhile: disks cannot be merged, so this session's is the newest, and the other one can be had again with satchel layer rollback", pin.Name, head.Version.Short())}
	}
	staged, err := h.Repo.Stage(ctx, w, c)
	if err != nil {
		return err
	}
	id := staged.Versions[0]
	if id == head.Version {
		return nil
	}
	rec.Captured = append(rec.Captured, workspace.Pin{Kind: layers.System, Layer: pin.Layer, Name: pin.Name, Version: id})
	if err := h.Workspaces.SaveSession(got.Workspace, *rec); err != nil {
		return err
	}
	got.Layers = []CapturedLayer{{layers.System, pin.Name, id, changes}}
	return staged.Move(ctx)
}
