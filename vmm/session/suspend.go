package session

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"satchel/layers"
	"satchel/layers/erofs"
	"satchel/layers/workspace"
	"satchel/store/durable"
	"satchel/vmm/memory"
	"satchel/vmm/qemu"
)

// ErrOnTrial reports a guest whose versions are on trial and have no verdict yet.
var ErrOnTrial = errors.New("on trial")

// Suspended tells what a suspension kept.
type Suspended struct {
	Workspace     string    `json:"workspace"`
	Captured      *Captured `json:"captured"`       // what the layers got before; nil: a disk, which is captured when its session ends
	MemoryBytes   int64     `json:"memory_bytes"`   // that the guest had in use
	DeviceBytes   int64     `json:"device_bytes"`   // state of the machine's devices
	StopSeconds   float64   `json:"stop_seconds"`   // until the guest stood still and its devices were saved
	MemorySeconds float64   `json:"memory_seconds"` // to save its memory, durably
	Seconds       float64   `json:"seconds"`        // in all
}

// Suspend captures what the guest has changed, saves the machine and ends it.
// [Host.Start] lets it go on. When Suspend fails, the guest goes on at once.
//
// The guest's disk is frozen when its machine stops. So what lies on the delta
// disk is consistent, and is what was captured; should the machine never go on,
// no file is lost. The order makes each crash leave one of two things: until
// the record says suspended, a session that has crashed, whose disk is captured;
// from then on a suspended one, whose files are durable.
//
// A guest that brings its own system has nobody who could freeze its disk. What
// it has not written yet is in its memory, so its overlay is sealed, as it is,
// and goes with the memory.
func (s *Session) Suspend(ctx context.Context) (got Suspended, err error) {
	if s.rec == nil {
		return got, errors.New("a recording cannot be suspended")
	}
	begun := time.Now()
	s.power.Lock()
	defer s.power.Unlock()
	s.capture.Lock()
	defer s.capture.Unlock()
	got.Workspace = s.name
	if err := s.judged(); err != nil {
		return got, err
	}
	if err := s.room(); err != nil {
		return got, err
	}
	if err := s.stand(ctx); err != nil {
		return got, err
	}
	err = s.save(ctx, begun, &got)
	if err == nil {
		s.step("recorded")
		s.quit(ctx)
		got.Seconds = time.Since(begun).Seconds()
		return got, nil
	}
	if goErr := s.goOn(context.WithoutCancel(ctx)); goErr != nil {
		s.machine.Kill() // and what is on its disk is captured
		return got, errors.Join(err, goErr)
	}
	return got, fmt.Errorf("suspend %s: %w\nits guest goes on", s.name, err)
}

// judged refuses a guest on trial: a resume is no start, so who suspends it
// would leave it without a verdict. That the record has no trial any more is
// durable, and so is the verdict then.
func (s *Session) judged() error {
	rec, err := s.host.Workspaces.LoadHealth(s.name)
	switch {
	case err != nil:
		return err
	case rec.Trial == nil:
		return nil
	case rec.Trial.Reason != "":
		return fmt.Errorf("suspend %s: %w", s.name, s.failedTrial(rec.Trial.Reason))
	}
	return fmt.Errorf("suspend %s: its versions are %w: try again once it has reached its health mark, or satchel stop %s", s.name, ErrOnTrial, s.name)
}

// spare is the room that is left on a disk after a suspension, in bytes.
const spare = 64 << 20

// room checks that the workspace's file system can take the memory.
func (s *Session) room() error {
	need, err := memory.Used(s.memory)
	if err != nil {
		return err
	}
	free, err := s.host.free(s.name)
	if err != nil {
		return fmt.Errorf("suspend %s: %w", s.name, err)
	}
	if free < need+spare {
		return fmt.Errorf("suspend %s: its memory takes %d MB, and %s has room for %d: its guest goes on (%w)",
			s.name, (need+spare)>>20, s.host.Workspaces.Dir(s.name), free>>20, unix.ENOSPC)
	}
	return nil
}

// stand freezes the guest's disk and stops its processors.
func (s *Session) stand(ctx context.Context) error {
	select {
	case <-s.machine.Exited():
		return fmt.Errorf("suspend %s: the guest has ended", s.name)
	default:
	}
	if s.awoken != nil { // it thaws the disk, and must not do so in the midst of this
		select {
		case <-s.awoken:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := s.still(ctx); err != nil {
		return err
	}
	if s.top != nil { // QEMU has it flushed when it stops the machine, and has ten seconds for that
		if err := s.top.Flush(); err != nil {
			return fmt.Errorf("suspend %s: %w", s.name, err)
		}
	}
	begun := time.Now()
	if s.agent != nil {
		freezing, cancel := context.WithTimeout(ctx, frozen)
		defer cancel()
		if err := s.agent.Freeze(freezing, frozen); err != nil {
			return fmt.Errorf("suspend %s: freeze the guest's disk: %w (it must be up for that)", s.name, err)
		}
	}
	pausing, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	err := s.machine.Pause(pausing)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		s.goOnLate(context.WithoutCancel(ctx))
		return fmt.Errorf("suspend %s: %w: try again when it goes on", s.name, ErrDiskWaits)
	}
	if err == nil && s.agent != nil && time.Since(begun) > frozen {
		err = errors.New("the guest took too long to stop")
	}
	if err != nil {
		return errors.Join(fmt.Errorf("suspend %s: %w", s.name, err), s.goOn(context.WithoutCancel(ctx)))
	}
	return nil
}

// ErrDiskWaits reports a guest that cannot be suspended since its disk waits:
// for what has not arrived from the server, or for room. QEMU stops the
// processors at once, but is done only when the disk has answered, and hears of
// nothing else meanwhile.
var ErrDiskWaits = errors.New("the guest's disk waits, for the network or for room on this computer's disk")

// still refuses a guest whose disk waits.
func (s *Session) still(ctx context.Context) error {
	waiting, cancel := context.WithTimeout(ctx, slow)
	defer cancel()
	if err := s.wentOn(waiting); err != nil || s.stuck() {
		return cmp.Or(ctx.Err(), fmt.Errorf("suspend %s: %w: try again when it goes on", s.name, ErrDiskWaits))
	}
	return nil
}

// wentOn waits until a guest has gone on that was to stand still while its disk
// waited.
func (s *Session) wentOn(ctx context.Context) error {
	if s.late == nil {
		return nil
	}
	select {
	case <-s.late:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// goOnLate lets a guest go on once its disk has answered, until when QEMU is
// about to stop it.
func (s *Session) goOnLate(ctx context.Context) {
	late := make(chan struct{})
	s.late = late
	go func() {
		defer close(late)
		err := s.machine.Resume(ctx) // however long that takes
		if err == nil {
			err = s.goOn(ctx) // which resumes it again, to no effect
		}
		select {
		case <-s.machine.Exited():
		default:
			if err != nil {
				s.host.note("the guest of %s was stopped while its disk waited, and may stand still: %v", s.name, err)
			}
		}
	}()
}

// goOn lets a guest that stood still run again.
func (s *Session) goOn(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, frozen)
	defer cancel()
	err := s.machine.Resume(ctx)
	if err == nil && s.agent != nil {
		err = s.agent.Clock(ctx, time.Now())
		s.agent.Thaw(ctx) //nolint:errcheck // it thaws by itself at the latest
	}
	return errors.Join(err, s.host.Workspaces.ClearMachine(s.name))
}

// save saves the machine and keeps what is on its disk, both at once, and
// writes the record that names all of it.
func (s *Session) save(ctx context.Context, begun time.Time, got *Suspended) error {
	h := s.host
	s.step("stopped")
	if err := h.Workspaces.ClearMachine(s.name); err != nil {
		return err
	}
	sus := workspace.Suspension{
		At: time.Now().UTC(), QEMU: s.machine.Version(), Machine: s.fingerprint, Image: s.imageHash,
		Options: workspace.Machine{Memory: s.opt.Memory, CPUs: s.opt.CPUs, Display: s.opt.Display, Network: s.opt.Network,
			Firmware: s.opt.Firmware, DiskBus: s.opt.DiskBus}, Ready: s.Status().Ready,
	}
	var err error
	if sus.Processor, err = qemu.Processor(); err != nil {
		return err
	}
	if sus.Devices, err = s.saveDevices(ctx); err != nil {
		return err
	}
	s.step("devices")
	got.StopSeconds = time.Since(begun).Seconds()
	kept := make(chan error, 1)
	go func() { kept <- s.keepDisk(ctx, &sus, got) }()
	memoryBegun := time.Now()
	sum, err := memory.Save(ctx, s.memory, h.Workspaces.MemoryFile(s.name))
	got.MemorySeconds = time.Since(memoryBegun).Seconds()
	if err = errors.Join(err, <-kept); err != nil {
		return err
	}
	s.step("memory")
	if err := durable.SyncDir(h.Workspaces.Dir(s.name)); err != nil {
		return err
	}
	sus.Memory = workspace.Saved(sum)
	got.MemoryBytes, got.DeviceBytes = sum.Pages*memory.Page, sus.Devices.Size
	return s.record(sus)
}

// record makes the session a suspended one.
func (s *Session) record(sus workspace.Suspension) error {
	rec := *s.rec
	rec.State, rec.Suspension = workspace.Suspended, &sus
	if err := s.host.Workspaces.SaveSession(s.name, rec); err != nil {
		// It may be there all the same, and must not be once the guest goes on.
		return errors.Join(err, s.host.Workspaces.SaveSession(s.name, *s.rec))
	}
	s.suspended = true
	return nil
}

// saveDevices writes the state of the devices to their file, durably.
func (s *Session) saveDevices(ctx context.Context) (saved workspace.Saved, err error) {
	f, err := os.OpenFile(s.host.Workspaces.DevicesFile(s.name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return saved, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	sum := crc32.New(castagnoli)
	if err := s.machine.Save(ctx, filepath.Join(s.dir, stateSocket), io.MultiWriter(f, sum)); err != nil {
		return saved, err
	}
	info, err := f.Stat()
	if err != nil {
		return saved, err
	}
	return workspace.Saved{Size: info.Size(), CRC: sum.Sum32()}, f.Sync()
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// quit ends a machine that is saved.
func (s *Session) quit(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	s.machine.Quit(ctx) //nolint:errcheck // it is waited for
	if _, err := s.machine.Wait(ctx); err != nil {
		s.machine.Kill()
	}
}

// step tells tests how far a suspension has come.
func (s *Session) step(name string) {
	if s.host.step != nil {
		s.host.step(name)
	}
}

// hashImage names an image: the hash of its metadata and of the names of all
// chunks of its files.
func hashImage(image *erofs.Image, tree layers.Tree) string {
	sum := sha256.New()
	io.Copy(sum, io.NewSectionReader(image, 0, image.Stats().Metadata)) //nolint:errcheck // it is in memory
	for i := range tree {
		for _, x := range tree[i].Extents {
			sum.Write(x.ID[:])
		}
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// answerSuspend answers once the session has ended for it.
func (s *Session) answerSuspend(w http.ResponseWriter, r *http.Request) {
	// Who asked for it may go away: half a suspension helps nobody.
	got, err := s.Suspend(context.WithoutCancel(r.Context()))
	if err != nil {
		reply(w, nil, err)
		return
	}
	select {
	case <-s.ended:
		reply(w, got, s.endErr)
	case <-r.Context().Done():
	}
}

// Suspend saves the running guest and ends its session.
func (c *Client) Suspend(ctx context.Context) (got Suspended, err error) {
	return got, c.fetch(ctx, "POST", "/suspend", &got)
}
