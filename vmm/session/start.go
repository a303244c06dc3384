package session

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"satchel/layers/erofs"
	"satchel/layers/treefs"
	"satchel/layers/workspace"
	"satchel/store"
	"satchel/vmm/agent"
	"satchel/vmm/delta"
	"satchel/vmm/initramfs"
	"satchel/vmm/memory"
	"satchel/vmm/nbd"
	"satchel/vmm/qemu"
)

// deltaSize is how large a delta disk may grow, in bytes. The file is sparse.
const deltaSize = 64 << 30

// Start captures what an earlier session of the workspace left, composes its
// layers and boots them: at their heads, but for versions that failed here
// before. It returns as soon as the guest's machine runs; see [Session.Up]. The
// session ends by itself when the guest does. A tree that lacks what a guest
// needs gives a [*FailedTrial].
//
// A suspended guest goes on, if it can; see [Session.Suspend].
func (h *Host) Start(ctx context.Context, name string, opt Options) (*Session, *Captured, error) {
	if s, err := h.resume(ctx, name, opt); s != nil || err != nil {
		return s, nil, err
	}
	release, got, err := h.idle(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	def, err := h.Workspaces.Load(name)
	if err != nil {
		return nil, got, errors.Join(err, release())
	}
	versions, trial, unhold, err := h.plan(ctx, def, opt)
	if err != nil {
		return nil, got, errors.Join(err, release())
	}
	s := h.newSession(name, func() error { return errors.Join(unhold(), release()) })
	s.trial = trial
	if s.disk, err = h.diskOf(ctx, versions); err == nil {
		err = s.checkOptions(opt)
	}
	if err != nil {
		return nil, got, errors.Join(s.unstarted(ctx, err), s.release())
	}
	start := s.start
	if s.disk != nil {
		s.delta, start = h.overlay(name), s.startDisk
	}
	self, err := workspace.Self()
	if err != nil {
		return nil, got, errors.Join(err, s.release())
	}
	s.rec = &workspace.Session{Started: s.started, State: workspace.Running, Process: self, Delta: s.delta, Composed: versions}
	if err := start(ctx, def, versions, opt); err != nil {
		return nil, got, errors.Join(s.unstarted(ctx, err), s.abandon())
	}
	return s, got, nil
}

// newSession returns a session that calls release when all else is done. Its
// runtime directory lasts until then, so that who asks for its end while it is
// being captured is told of that.
func (h *Host) newSession(name string, release func() error) *Session {
	s := &Session{
		host: h, name: name, started: time.Now(),
		ended: make(chan struct{}), done: make(chan struct{}),
		delta: h.Workspaces.Delta(name),
	}
	s.full.session = s
	s.release = func() error {
		var err error
		if s.dir != "" {
			err = os.RemoveAll(s.dir)
		}
		return errors.Join(err, release())
	}
	return s
}

// abandon undoes a start that failed before the guest could write anything.
func (s *Session) abandon() (failed error) {
	err := s.close()
	defer func() { failed = errors.Join(failed, s.release()) }()
	if s.rec == nil {
		return errors.Join(err, remove(s.delta))
	}
	if s.disk != nil {
		return errors.Join(err, s.host.discardUnused(s.name, s.delta))
	}
	state, checkErr := delta.State(s.delta)
	if checkErr != nil || (state.Condition != delta.Absent && state.Condition != delta.Fresh) {
		return errors.Join(err, checkErr) // the next start captures it
	}
	return errors.Join(err, remove(s.delta), s.host.Workspaces.ClearSession(s.name))
}

func remove(file string) error {
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// start composes the versions and boots them, step by step; what it has begun
// is undone by close.
func (s *Session) start(ctx context.Context, def workspace.Definition, versions []workspace.Pin, opt Options) (err error) {
	h := s.host
	if s.stack, err = h.load(ctx, def, versions); err != nil {
		return err
	}
	for _, c := range s.stack.whole.Conflicts {
		h.note("conflict in layer %s: %s: %s", c.Layer, c.Path, c.Reason)
	}
	image, err := s.layOut(ctx)
	if err != nil {
		return err
	}
	if s.dir, err = makeRuntimeDir(h.Home, s.name); err != nil {
		return err
	}
	if err := s.prepareBoot(ctx); err != nil {
		return err
	}
	accel, err := qemu.ProbeAccel(ctx, h.cacheDir())
	if err != nil {
		return err
	}
	s.boot.Accelerator, s.boot.AccelReason = accel.Name, accel.Reason
	if s.rec != nil {
		if err := h.Workspaces.SaveSession(s.name, *s.rec); err != nil {
			return err
		}
	}
	if err := delta.Create(ctx, s.delta, deltaSize); err != nil {
		return err
	}
	if err := s.serveImage(ctx, image); err != nil {
		return err
	}
	if s.rec != nil { // what may be suspended keeps its memory in a file
		s.opt = opt.filled()
		if s.memory, err = memory.New(s.opt.Memory); err != nil {
			return err
		}
		s.undo(s.memory.Close)
	}
	cfg := s.machineOf(accel, opt)
	s.fingerprint = qemu.Fingerprint(cfg)
	if err := s.startMachine(ctx, cfg); err != nil {
		return err
	}
	return s.serve(context.WithoutCancel(ctx))
}

// layOut makes the image of the composed stack.
func (s *Session) layOut(ctx context.Context) (*erofs.Image, error) {
	var contents store.Getter
	contents, s.endReads = until(ctx, s.stack.whole)
	image, err := erofs.New(s.stack.whole.Tree, contents, erofs.Options{})
	if err != nil {
		return nil, fmt.Errorf("compose the image: %w", err)
	}
	s.imageHash = hashImage(image, s.stack.whole.Tree)
	s.boot.Entries, s.boot.ImageBytes, s.boot.MetadataBytes = len(s.stack.whole.Tree), image.Size(), image.Stats().Metadata
	s.boot.ComposeSeconds = time.Since(s.started).Seconds()
	return image, nil
}

// prepareBoot writes the kernel and the initramfs out of the composed tree.
func (s *Session) prepareBoot(ctx context.Context) error {
	guest, err := guestBinary()
	if err != nil {
		return err
	}
	root := treefs.New(ctx, s.stack.whole.Tree, s.stack.whole)
	initrd, err := os.Create(filepath.Join(s.dir, initrdFile))
	if err != nil {
		return err
	}
	boot, err := initramfs.Build(initrd, root, guest, initramfs.Options{})
	if err = errors.Join(err, initrd.Close()); err != nil {
		return err
	}
	s.boot.Kernel = boot.Release
	kernel, err := root.ReadFile(boot.KernelPath)
	if err != nil {
		return fmt.Errorf("read the guest's kernel: %w", err)
	}
	return os.WriteFile(filepath.Join(s.dir, kernelFile), kernel, 0o600)
}

// commandLine is the kernel's.
func (s *Session) commandLine(accel qemu.Accel) []string {
	opt := initramfs.CommandLineOptions{Emulated: accel.Name != qemu.KVM, Screen: true, Ldconfig: s.stack.stacked()}
	if opt.Emulated {
		opt.Mask = initramfs.SlowUnits
	}
	return strings.Fields(initramfs.CommandLine(opt))
}

// serveImage serves the composed image to the machine.
func (s *Session) serveImage(ctx context.Context, image *erofs.Image) error {
	l, err := listen(s.dir, nbdSocket)
	if err != nil {
		return err
	}
	s.reads = s.host.Store.Reads()
	s.image = nbd.NewServer("", device{image}, nbd.Options{})
	s.background(ctx, func(ctx context.Context) error { return s.image.Serve(ctx, l) })
	s.undo(s.endReads) // before the block server is, which waits for reads
	return nil
}

// background runs fn until close.
func (s *Session) background(ctx context.Context, fn func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() { done <- fn(ctx) }()
	s.undo(func() error {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
		return nil
	})
}

// filled replaces zero values by what they stand for.
func (o Options) filled() Options {
	return Options{
		Memory: cmp.Or(o.Memory, 1<<30), CPUs: cmp.Or(o.CPUs, min(2, runtime.NumCPU())),
		Display: cmp.Or(o.Display, string(qemu.None)), Network: cmp.Or(o.Network, string(qemu.User)),
		Firmware: o.Firmware, DiskBus: o.DiskBus,
	}
}

// machineOf describes the session's machine.
func (s *Session) machineOf(accel qemu.Accel, opt Options) qemu.Config {
	at := func(name string) string { return filepath.Join(s.dir, name) }
	opt = opt.filled()
	return qemu.Config{
		Name: s.name, Memory: opt.Memory, CPUs: opt.CPUs, Accel: accel,
		Kernel: at(kernelFile), Initrd: at(initrdFile), KernelArgs: s.commandLine(accel),
		Root: at(nbdSocket), Delta: s.delta,
		Agent:   qemu.Socket(at(portSocket)),
		Console: qemu.Console{Socket: qemu.Socket(at(consoleSocket)), Log: s.consoleLog()},
		Display: display(opt.Display, at(vncSocket)),
		Network: qemu.Network{Mode: qemu.NetworkMode(opt.Network)},
		Log:     filepath.Join(s.host.Workspaces.Dir(s.name), "qemu.log"),
		RAM:     s.memory,
	}
}

func (s *Session) startMachine(ctx context.Context, cfg qemu.Config) error {
	machine, err := qemu.Start(ctx, cfg)
	if err != nil {
		return err
	}
	s.machine = machine
	if cfg.Display.Kind == qemu.VNC {
		s.host.note("the screen is a VNC server on %s", cfg.Display.VNC)
	}
	s.undo(func() error { machine.Kill(); return nil })
	s.background(ctx, s.watchRoom)
	return nil
}

func display(kind, vnc string) qemu.Display {
	// A screen is always there, so that it can be looked at; this one shows text
	// to guests without a driver for it.
	d := qemu.Display{Kind: qemu.DisplayKind(kind), Device: "virtio-vga"}
	if d.Kind == qemu.VNC {
		d.VNC = vnc
	}
	return d
}

// serve connects the agent, opens the sockets that other processes use, and
// begins to wait for the end.
func (s *Session) serve(ctx context.Context) error {
	if s.disk == nil {
		if err := s.serveAgent(ctx); err != nil {
			return err
		}
	}
	control, err := listen(s.dir, controlSocket)
	if err != nil {
		return err
	}
	s.server = http.Server{Handler: s.control(), ReadHeaderTimeout: 10 * time.Second}
	go s.server.Serve(control) //nolint:errcheck // it ends when supervise shuts it down
	if s.awoken != nil {
		s.background(ctx, s.awake)
	}
	s.watch(ctx)
	go s.supervise(ctx)
	return nil
}

// serveAgent connects the agent, and lets other processes use it.
func (s *Session) serveAgent(ctx context.Context) error {
	port, err := net.Dial("unix", filepath.Join(s.dir, portSocket))
	if err != nil {
		return fmt.Errorf("connect to the guest agent's port: %w", err)
	}
	s.agent = agent.NewClient(port)
	s.undo(s.agent.Close)
	shared, err := listen(s.dir, agentSocket)
	if err != nil {
		return err
	}
	s.background(ctx, func(ctx context.Context) error { return agent.NewProxy(s.agent).Serve(ctx, shared) })
	return nil
}
