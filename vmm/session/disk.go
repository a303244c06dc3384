package session

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"satchel/layers"
	"satchel/layers/diskimage"
	"satchel/layers/manifest"
	"satchel/layers/workspace"
	"satchel/store"
	"satchel/vmm/memory"
	"satchel/vmm/nbd"
	"satchel/vmm/overlay"
	"satchel/vmm/qemu"
)

// A guestDisk is what runs in a workspace whose os layer is of disk form: a guest
// that brings its own system, which nobody looks into.
type guestDisk struct {
	os    workspace.Pin
	below workspace.Pin // whose disk the guest starts from: the system layer's, if it has one, else the os layer's
	on    store.ID      // the version of the os layer that it goes back to
}

// errDiskForm reports that something is done with files of which there are none.
var errDiskForm = errors.New("its files are inside of it, and are no layers")

// ErrNoAgent reports a guest that brings its own system.
var ErrNoAgent = errors.New("this guest runs a disk of its own and has no agent")

// diskOf returns the disk that a stack of versions is, or nil if it is made of
// files. It refuses a stack of both.
func (h *Host) diskOf(ctx context.Context, versions []workspace.Pin) (*guestDisk, error) {
	var d *guestDisk
	for i, pin := range versions {
		if pin.Version.IsZero() {
			continue
		}
		v, err := manifest.ReadVersion(ctx, h.Store, pin.Version)
		if err != nil {
			return nil, fmt.Errorf("read layer %s: %w", pin.Name, err)
		}
		switch {
		case i == 0 && v.Form == layers.Disk:
			d = &guestDisk{os: pin, below: pin, on: pin.Version}
		case v.Tree.Entries == 0: // whatever it was, it is empty now
		case d == nil && v.Form == layers.Disk:
			return nil, fmt.Errorf("layer %s is a disk, and layer %s holds files: a disk lies on nothing but the disk that it was started from (satchel reset WORKSPACE empties it)", pin.Name, versions[0].Name)
		case d != nil && v.Form != layers.Disk:
			return nil, fmt.Errorf("layer %s holds files, which cannot lie on the disk of layer %s: the user's files are inside the disk (empty it with satchel reset WORKSPACE --kind %s, or take it out of the workspace)", pin.Name, d.os.Name, pin.Kind)
		case d != nil:
			d.below, d.on = pin, v.On
		}
	}
	return d, nil
}

// openDisk opens the disk that lies below.
func (h *Host) openDisk(ctx context.Context, d *guestDisk) (*diskimage.Reader, *layers.Entry, error) {
	v, err := manifest.ReadVersion(ctx, h.Store, d.below.Version)
	if err != nil {
		return nil, nil, err
	}
	tree, err := manifest.ReadTree(ctx, h.Store, v.Tree)
	if err != nil {
		return nil, nil, err
	}
	r, err := diskimage.Open(h.contents(), tree)
	if err != nil {
		return nil, nil, fmt.Errorf("layer %s: %w", d.below.Name, err)
	}
	return r, &tree[0], nil
}

// overlayFile is what a guest has written over its disk, beside the definition.
const overlayFile = "overlay.img"

func (h *Host) overlay(name string) string {
	return filepath.Join(h.Workspaces.Dir(name), overlayFile)
}

// checkOptions refuses what makes no sense for the guest.
func (s *Session) checkOptions(opt Options) error {
	if s.disk == nil && cmp.Or(opt.Firmware, opt.DiskBus) != "" {
		return fmt.Errorf("workspace %s is made of files, and starts without firmware or a disk of its own", s.name)
	}
	return nil
}

// startDisk boots a guest that brings its own system.
func (s *Session) startDisk(ctx context.Context, _ workspace.Definition, _ []workspace.Pin, opt Options) (err error) {
	h := s.host
	s.opt = opt.filled()
	lower, found, accel, err := s.findDisk(ctx)
	if err != nil {
		return err
	}
	if err := h.Workspaces.SaveSession(s.name, *s.rec); err != nil {
		return err
	}
	if err := overlay.Create(s.delta, s.baseOf(lower)); err != nil {
		return err
	}
	if err := s.serveDisk(ctx, lower); err != nil {
		return err
	}
	if s.memory, err = memory.New(s.opt.Memory); err != nil {
		return err
	}
	s.undo(s.memory.Close)
	cfg := s.diskMachine(accel, found)
	s.fingerprint = qemu.Fingerprint(cfg)
	if err := s.startMachine(ctx, cfg); err != nil {
		return err
	}
	return s.serve(context.WithoutCancel(ctx))
}

// findDisk opens the disk that lies below, and finds what boots and runs it.
func (s *Session) findDisk(ctx context.Context) (lower *diskimage.Reader, found firmware, accel qemu.Accel, err error) {
	h := s.host
	lower, entry, err := h.openDisk(ctx, s.disk)
	if err != nil {
		return lower, found, accel, err
	}
	s.boot.ImageBytes, s.imageHash = lower.Size(), hashDisk(entry)
	if s.dir, err = makeRuntimeDir(h.Home, s.name); err != nil {
		return lower, found, accel, err
	}
	if found, err = h.firmware(s.name, s.opt.Firmware, lower); err != nil {
		return lower, found, accel, err
	}
	accel, err = qemu.ProbeAccel(ctx, h.cacheDir())
	s.boot.Accelerator, s.boot.AccelReason, s.boot.Kernel = accel.Name, accel.Reason, string(found.kind)
	return lower, found, accel, err
}

func (s *Session) baseOf(lower *diskimage.Reader) overlay.Base {
	return overlay.Base{Version: s.disk.below.Version, Size: lower.Size()}
}

// serveDisk serves the disk, with what was written over it, to the machine.
func (s *Session) serveDisk(ctx context.Context, lower *diskimage.Reader) error {
	cached, err := overlay.NewCache(lower, filepath.Dir(s.delta))
	if err != nil {
		return err
	}
	s.undo(cached.Close)
	if s.top, err = overlay.Open(s.delta, cached, s.baseOf(lower).Version); err != nil {
		return err
	}
	s.undo(s.top.Close)
	l, err := listen(s.dir, nbdSocket)
	if err != nil {
		return err
	}
	s.reads = s.host.Store.Reads()
	disk := &patientDisk{s.top, &s.full, make(chan struct{})}
	s.image = nbd.NewServer("", disk, nbd.Options{MaxRequests: 64})
	s.background(ctx, func(ctx context.Context) error { return s.image.Serve(ctx, l) })
	s.undo(disk.close) // before the server is, which waits for writes
	return nil
}

// diskMachine describes the machine of a guest that brings its own system.
func (s *Session) diskMachine(accel qemu.Accel, found firmware) qemu.Config {
	at := func(name string) string { return filepath.Join(s.dir, name) }
	cfg := qemu.Config{
		Name: s.name, Memory: s.opt.Memory, CPUs: s.opt.CPUs, Accel: accel,
		Disk:    qemu.Disk{Socket: at(nbdSocket), Bus: qemu.Bus(s.opt.DiskBus), Code: found.code, Vars: found.vars},
		Console: qemu.Console{Socket: qemu.Socket(at(consoleSocket)), Log: s.consoleLog()},
		Display: display(s.opt.Display, at(vncSocket)),
		Network: qemu.Network{Mode: qemu.NetworkMode(s.opt.Network)},
		Log:     filepath.Join(s.host.Workspaces.Dir(s.name), "qemu.log"),
		RAM:     s.memory,
	}
	if cfg.Disk.Bus == qemu.SATA {
		cfg.Display.Device = "VGA"
	}
	return cfg
}
