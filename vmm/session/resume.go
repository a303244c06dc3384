package session

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"satchel/layers/workspace"
	"satchel/store"
	"satchel/vmm/memory"
	"satchel/vmm/qemu"
)

// stale says why a suspended machine can never go on.
type stale struct{ reason string }

func (e *stale) Error() string { return e.reason }

// suspended reports whether the workspace's record says so.
func (h *Host) suspended(name string) bool {
	rec, err := h.Workspaces.LoadSession(name)
	return err == nil && rec.State == workspace.Suspended
}

// resume lets the workspace's guest go on if it is suspended. It returns nil
// when it is not, and when it cannot go on any more: then its memory has been
// given up, and what is on its disk waits to be captured.
func (h *Host) resume(ctx context.Context, name string, opt Options) (s *Session, err error) {
	if !h.suspended(name) {
		return nil, nil // Start finds out what is wrong, if anything is
	}
	release, err := h.Workspaces.Lock(name)
	if err != nil {
		return nil, err
	}
	rec, err := h.Workspaces.LoadSession(name)
	if err != nil || rec.State != workspace.Suspended {
		return nil, errors.Join(err, release())
	}
	s, err = h.wake(ctx, name, rec, opt, release)
	var why *stale
	if !errors.As(err, &why) {
		return s, err
	}
	h.note("the suspended guest of %s cannot go on: %s. Its files are kept; it starts anew", name, why.reason)
	release, err = h.Workspaces.Lock(name)
	if err != nil {
		return nil, err
	}
	return nil, errors.Join(h.drop(name, rec), release())
}

// drop gives the memory of a suspended machine up. What is on its disk is for
// the next capture.
func (h *Host) drop(name string, rec workspace.Session) error {
	rec.State, rec.Suspension = workspace.Capturing, nil
	if err := h.Workspaces.SaveSession(name, rec); err != nil {
		return err
	}
	return h.Workspaces.ClearMachine(name)
}

// Drop gives the memory of the workspace's suspended guest up and captures what
// is on its disk. That it is not suspended is no error.
func (h *Host) Drop(ctx context.Context, name string) (*Captured, error) {
	release, err := h.Workspaces.Lock(name)
	if err != nil {
		return nil, err
	}
	rec, err := h.Workspaces.LoadSession(name)
	switch {
	case errors.Is(err, store.ErrNotExist):
		return nil, release()
	case err == nil && rec.State == workspace.Suspended:
		err = h.drop(name, rec)
	}
	if err != nil {
		return nil, errors.Join(err, release())
	}
	got, err := h.recover(ctx, name)
	return got, errors.Join(err, release())
}

// wake starts the machine of a suspended session and lets it go on. It calls
// release when it fails, and the session does in the end. A [*stale] error says
// that it never will.
func (h *Host) wake(ctx context.Context, name string, rec workspace.Session, opt Options, release func() error) (*Session, error) {
	def, err := h.Workspaces.Load(name)
	if err == nil {
		err = h.unmoved(ctx, def, &rec, opt)
	}
	if err != nil {
		return nil, errors.Join(err, release())
	}
	stored := rec.Suspension.Stored
	unhold, err := h.Store.Hold(ctx, "run "+name, roots(append(slices.Clone(rec.Composed), workspace.Pin{Version: stored}))...)
	if err != nil {
		return nil, errors.Join(err, release())
	}
	if !stored.IsZero() {
		if err := h.fetchMachine(ctx, name, stored); err != nil {
			return nil, errors.Join(damaged(err), unhold(), release())
		}
	}
	s := h.newSession(name, func() error { return errors.Join(unhold(), release()) })
	s.opt = resumed(rec.Suspension.Options, opt)
	s.boot.Resumed, s.wasReady = true, rec.Suspension.Ready
	if s.disk, err = h.diskOf(ctx, rec.Composed); err != nil {
		return nil, errors.Join(err, s.release())
	}
	if s.disk != nil {
		s.delta = h.overlay(name)
	} else {
		s.awoken = make(chan struct{})
	}
	if err := s.load(ctx, def, &rec); err != nil {
		return nil, errors.Join(err, s.close(), s.release())
	}
	return s, s.letGo(ctx, rec)
}

// unmoved checks that the workspace's layers are those that the guest runs on:
// a start would choose the same versions of what others publish, and the heads
// of its own are what it was composed of, or what it captured into them itself.
func (h *Host) unmoved(ctx context.Context, def workspace.Definition, rec *workspace.Session, opt Options) error {
	next, err := h.next(ctx, def, opt.RetryFailed)
	if errors.Is(err, store.ErrNotExist) {
		return &stale{err.Error()}
	}
	if err != nil {
		return err
	}
	if len(next) != len(rec.Composed) {
		return &stale{"the workspace has other layers now"}
	}
	for i, pin := range next {
		was := rec.Composed[i]
		captured := pin.Kind.Writable() && slices.ContainsFunc(rec.Captured, func(own workspace.Pin) bool { return samePin(own, pin) })
		switch {
		case pin.Layer != was.Layer:
			return &stale{fmt.Sprintf("the workspace has layer %s in place of %s now", pin.Name, was.Name)}
		case pin.Version != was.Version && !captured:
			return &stale{fmt.Sprintf("layer %s has moved to %s", pin.Name, pin.Version.Short())}
		}
	}
	return nil
}

// load makes the machine again, up to where its processors stand still.
func (s *Session) load(ctx context.Context, def workspace.Definition, rec *workspace.Session) (err error) {
	sus := rec.Suspension
	processor, err := qemu.Processor()
	if err != nil {
		return err
	}
	if processor != sus.Processor {
		return &stale{"this computer's processor is another one"}
	}
	var ram *os.File
	loaded := make(chan error, 1)
	go func() {
		var err error
		ram, err = memory.Load(ctx, s.host.Workspaces.MemoryFile(s.name), memory.Sum(sus.Memory))
		loaded <- damaged(err)
	}()
	cfg, err := s.prepare(ctx, def, rec)
	memErr := <-loaded
	if s.memory = ram; memErr == nil {
		s.undo(s.memory.Close)
	}
	if err = errors.Join(err, memErr); err != nil {
		return err
	}
	cfg.RAM, cfg.Incoming = s.memory, true
	if s.fingerprint = qemu.Fingerprint(cfg); s.fingerprint != sus.Machine {
		return &stale{"its machine is to be another one (memory, processors, network, firmware or bus of its disk), or this program makes machines differently"}
	}
	if err := s.startMachine(ctx, cfg); err != nil {
		return err
	}
	if version := s.machine.Version(); version != sus.QEMU {
		return &stale{fmt.Sprintf("it ran in QEMU %s, and this is %s", sus.QEMU, version)}
	}
	return s.loadDevices(ctx, sus)
}

// prepare composes what the guest was composed of, and serves it.
func (s *Session) prepare(ctx context.Context, def workspace.Definition, rec *workspace.Session) (cfg qemu.Config, err error) {
	if s.disk != nil {
		return s.prepareDisk(ctx, rec.Suspension)
	}
	if s.stack, err = s.host.load(ctx, def, rec.Composed); err != nil {
		return cfg, err
	}
	image, err := s.layOut(ctx)
	if err != nil {
		return cfg, err
	}
	if s.imageHash != rec.Suspension.Image {
		return cfg, &stale{"its layers compose to another image with this program"}
	}
	if s.dir, err = makeRuntimeDir(s.host.Home, s.name); err != nil {
		return cfg, err
	}
	if err := s.prepareBoot(ctx); err != nil {
		return cfg, err
	}
	accel, err := qemu.ProbeAccel(ctx, s.host.cacheDir())
	if err != nil {
		return cfg, err
	}
	s.boot.Accelerator, s.boot.AccelReason = accel.Name, accel.Reason
	if err := s.serveImage(ctx, image); err != nil {
		return cfg, err
	}
	return s.machineOf(accel, s.opt), nil
}

// loadDevices gives the machine the state of its devices.
func (s *Session) loadDevices(ctx context.Context, sus *workspace.Suspension) error {
	f, err := os.Open(s.host.Workspaces.DevicesFile(s.name))
	if err != nil {
		return damaged(err)
	}
	defer f.Close()
	// Whole, before QEMU sees any of it: it trusts what it reads.
	if sus.Devices.Size > maxDevices {
		return &stale{fmt.Sprintf("the state of its devices has %d bytes", sus.Devices.Size)}
	}
	state, err := io.ReadAll(io.LimitReader(f, sus.Devices.Size+1))
	if err != nil {
		return err
	}
	if int64(len(state)) != sus.Devices.Size || crc32.Checksum(state, castagnoli) != sus.Devices.CRC {
		return &stale{"the saved state of its devices is damaged"}
	}
	err = s.machine.Load(ctx, filepath.Join(s.dir, stateSocket), bytes.NewReader(state))
	if errors.Is(err, qemu.ErrIncoming) {
		return &stale{err.Error()}
	}
	return err
}

// maxDevices bounds the state of devices, in bytes: a screen's memory, mostly.
const maxDevices = 256 << 20

// damaged turns what tells that a file is not what was saved into a reason.
func damaged(err error) error {
	if errors.Is(err, store.ErrCorrupt) || errors.Is(err, store.ErrNotExist) || errors.Is(err, os.ErrNotExist) {
		return &stale{err.Error()}
	}
	return err
}

// letGo lets the guest of a loaded machine run. From now on its disk changes,
// so what was saved is worth nothing: the record says so first.
func (s *Session) letGo(ctx context.Context, rec workspace.Session) error {
	self, err := workspace.Self()
	if err == nil {
		rec.State, rec.Suspension, rec.Process, rec.Delta = workspace.Running, nil, self, s.delta
		err = s.host.Workspaces.SaveSession(s.name, rec)
	}
	if err == nil {
		s.rec = &rec
		err = s.serve(context.WithoutCancel(ctx))
	}
	if err != nil {
		return errors.Join(err, s.close(), s.release())
	}
	if err := s.machine.Resume(ctx); err != nil {
		end, waitErr := s.Stop(context.WithoutCancel(ctx), true)
		return errors.Join(fmt.Errorf("resume %s: %w (%s)", s.name, err, end.How), waitErr)
	}
	return s.host.Workspaces.ClearMachine(s.name)
}

// awake tells a guest that goes on what it has missed.
func (s *Session) awake(ctx context.Context) error {
	defer close(s.awoken)
	_, err := s.agent.Hello(ctx)
	if err != nil {
		return nil // it is gone again, which is seen at the machine
	}
	s.mu.Lock()
	s.boot.AgentSeconds = time.Since(s.started).Seconds()
	s.mu.Unlock()
	s.agent.Thaw(ctx) //nolint:errcheck // it thaws by itself at the latest
	if err := s.agent.Clock(ctx, time.Now()); err != nil && ctx.Err() == nil {
		s.host.note("the clock of %s may be late: %v", s.name, err)
	}
	return nil
}

// resumed are the options of a suspended machine, where opt does not differ.
func resumed(was workspace.Machine, opt Options) Options {
	return Options{
		Memory: cmp.Or(opt.Memory, was.Memory), CPUs: cmp.Or(opt.CPUs, was.CPUs),
		Display: cmp.Or(opt.Display, was.Display), Network: cmp.Or(opt.Network, was.Network),
		Firmware: cmp.Or(opt.Firmware, was.Firmware), DiskBus: cmp.Or(opt.DiskBus, was.DiskBus),
	}
}
