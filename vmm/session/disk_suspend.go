package session

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"satchel/layers"
	"satchel/layers/workspace"
	"satchel/vmm/overlay"
	"satchel/vmm/qemu"
)

// keepDisk captures what is on the delta disk, or seals the overlay: all that
// was answered is durable then, and nothing else can have been written when the
// guest goes on.
func (s *Session) keepDisk(ctx context.Context, sus *workspace.Suspension, got *Suspended) (err error) {
	if s.disk == nil {
		c, err := s.host.commit(ctx, s.name, s.rec, s.stack, s.delta)
		got.Captured = &c
		return err
	}
	if err := s.top.Flush(); err != nil {
		return err
	}
	sus.Overlay, err = overlay.Seal(s.delta)
	return err
}

// prepareDisk serves a suspended guest's disk again, if it is what it was.
func (s *Session) prepareDisk(ctx context.Context, sus *workspace.Suspension) (cfg qemu.Config, err error) {
	lower, found, accel, err := s.findDisk(ctx)
	if err != nil {
		return cfg, err
	}
	if s.imageHash != sus.Image {
		return cfg, &stale{"the disk below is another one"}
	}
	seal, err := overlay.Seal(s.delta)
	if err != nil {
		return cfg, damaged(err)
	}
	if seal != sus.Overlay {
		return cfg, &stale{"its disk was written to since it was suspended"}
	}
	if err := s.serveDisk(ctx, lower); err != nil {
		return cfg, err
	}
	return s.diskMachine(accel, found), nil
}

// hashDisk names a disk: the hash of the names of all its chunks.
func hashDisk(e *layers.Entry) string {
	sum := sha256.New()
	fmt.Fprintln(sum, e.Size)
	for _, x := range e.Extents {
		sum.Write(x.ID[:])
		fmt.Fprintln(sum, x.Len)
	}
	return hex.EncodeToString(sum.Sum(nil))
}
