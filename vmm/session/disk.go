package session

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"

	"satchel/layers"
	"satchel/layers/diskimage"
	"satchel/layers/manifest"
	"satchel/layers/workspace"
	"satchel/store"
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
	lower, _, err := h.openDisk(ctx, s.disk)
	if err != nil {
		return err
	}
	s.boot.ImageBytes = lower.Size()
	if s.dir, err = makeRuntimeDir(h.Home, s.name); err != nil {
		return err
	}
	found, err := h.firmware(s.name, opt.Firmware, lower)
	if err != nil {
		return err
	}
	accel, err := qemu.ProbeAccel(ctx, h.cacheDir())
	if err != nil {
		return err
	}
	s.boot.Accelerator, s.boot.AccelReason, s.boot.Kernel = accel.Name, accel.Reason, string(found.kind)
	if err := h.Workspaces.SaveSession(s.name, *s.rec); err != nil {
		return err
	}
	if err := s.serveDisk(ctx, lower); err != nil {
		return err
	}
	if err := s.startDiskMachine(ctx, accel, found, opt); err != nil {
		return err
	}
	return s.serve(context.WithoutCancel(ctx))
}

// serveDisk makes the overlay and serves it to the machine.
func (s *Session) serveDisk(ctx context.Context, lower *diskimage.Reader) error {
	base := overlay.Base{Version: s.disk.below.Version, Size: lower.Size()}
	if err := overlay.Create(s.delta, base); err != nil {
		return err
	}
	cached, err := overlay.NewCache(lower, filepath.Dir(s.delta))
	if err != nil {
		return err
	}
	s.undo(cached.Close)
	d, err := overlay.Open(s.delta, cached, base.Version)
	if err != nil {
		return err
	}
	s.undo(d.Close)
	l, err := listen(s.dir, nbdSocket)
	if err != nil {
		return err
	}
	s.reads = s.host.Store.Reads()
	s.image = nbd.NewServer("", d, nbd.Options{MaxRequests: 64})
	s.background(ctx, func(ctx context.Context) error { return s.image.Serve(ctx, l) })
	return nil
}

func (s *Session) startDiskMachine(ctx context.Context, accel qemu.Accel, found firmware, opt Options) error {
	at := func(name string) string { return filepath.Join(s.dir, name) }
	cfg := qemu.Config{
		Name: s.name, Memory: cmp.Or(opt.Memory, 1<<30), CPUs: cmp.Or(opt.CPUs, min(2, runtime.NumCPU())), Accel: accel,
		Disk:    qemu.Disk{Socket: at(nbdSocket), Bus: qemu.Bus(opt.DiskBus), Code: found.code, Vars: found.vars},
		Console: qemu.Console{Socket: qemu.Socket(at(consoleSocket)), Log: s.consoleLog()},
		Display: display(opt.Display, at(vncSocket)),
		Network: qemu.Network{Mode: qemu.NetworkMode(cmp.Or(opt.Network, string(qemu.User)))},
		Log:     filepath.Join(s.host.Workspaces.Dir(s.name), "qemu.log"),
	}
	if cfg.Disk.Bus == qemu.SATA {
		cfg.Display.Device = "VGA"
	}
	machine, err := qemu.Start(ctx, cfg)
	if err != nil {
		return err
	}
	s.machine = machine
	if cfg.Display.Kind == qemu.VNC {
		s.host.note("the screen is a VNC server on %s", cfg.Display.VNC)
	}
	s.undo(func() error { machine.Kill(); return nil })
	return nil
}
