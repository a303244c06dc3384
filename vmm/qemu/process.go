package qemu

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"satchel/vmm/nbd"
	"satchel/vmm/qemu/qmp"
)

const (
	defaultBinary = "qemu-system-x86_64" // looked for in PATH
	eventQueue    = 64                   // events that wait for a reader
	lastWords     = 2 * time.Second      // for QEMU to end once its monitor has
)

// A Process is a running machine. Its methods may be called from several
// goroutines at once.
type Process struct {
	cmd    *exec.Cmd
	mon    *qmp.Client
	stderr *transcript
	events chan qmp.Event
	killed atomic.Bool

	reaped chan struct{} // closed when QEMU was waited for
	exited chan struct{} // closed when exit is set
	exit   Exit
}

// Start runs QEMU and waits until it has made the machine. If ctx ends first,
// QEMU is killed; afterwards ctx has no effect. It fails with [ErrConfig], or
// with a [*StartError] that carries QEMU's own message.
func Start(ctx context.Context, cfg Config) (*Process, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	var disk *os.File
	if cfg.Disk.Socket != "" {
		var err error
		if disk, err = nbd.Dial(cfg.Disk.Socket); err != nil {
			return nil, fmt.Errorf("start qemu: %w", err)
		}
		defer disk.Close()
	}
	binary := cmp.Or(cfg.Binary, defaultBinary)
	stderr, err := newTranscript(cfg.Log)
	if err != nil {
		return nil, fmt.Errorf("start qemu: %w", err)
	}
	near, far, err := socketPair()
	if err != nil {
		_ = stderr.Close()
		return nil, fmt.Errorf("start qemu: make control connection: %w", err)
	}
	p := &Process{
		cmd:    exec.Command(binary, Args(cfg)...),
		stderr: stderr,
		events: make(chan qmp.Event, eventQueue),
		reaped: make(chan struct{}),
		exited: make(chan struct{}),
	}
	p.cmd.Stdout, p.cmd.Stderr = stderr, stderr
	p.cmd.ExtraFiles = []*os.File{far} // becomes monitorFD
	if cfg.RAM != nil {
		p.cmd.ExtraFiles = append(p.cmd.ExtraFiles, cfg.RAM) // becomes memoryFD
	}
	if disk != nil {
		p.cmd.ExtraFiles = append(p.cmd.ExtraFiles, disk) // becomes diskFD
	}
	p.cmd.WaitDelay = lastWords
	p.cmd.SysProcAttr = &syscall.SysProcAttr{
		Setpgid:   true, // an interrupt typed at our terminal is not for the guest
		Pdeathsig: syscall.SIGKILL,
	}
	started := make(chan error)
	go p.run(started)
	err = <-started
	far.Close()
	if err != nil {
		near.Close()
		return nil, newStartError(binary, err, "")
	}
	if err := p.greet(ctx, near); err != nil {
		return nil, err
	}
	return p, nil
}

// run starts QEMU and waits for it, on a thread of its own: see the package's
// comment on lifetime.
func (p *Process) run(started chan<- error) {
	runtime.LockOSThread() // for good: the thread ends with this goroutine
	defer func() { _ = p.stderr.Close() }()
	err := p.cmd.Start()
	started <- err
	if err == nil {
		_ = p.cmd.Wait() // its state says how it ended
		close(p.reaped)
	}
}

// greet waits for the monitor to answer, or for QEMU to give up.
func (p *Process) greet(ctx context.Context, conn net.Conn) error {
	mon, err := qmp.New(ctx, conn)
	if err != nil {
		p.bury(ctx)
		switch {
		case ctx.Err() != nil:
			err = ctx.Err()
		case errors.Is(err, io.EOF):
			err = fmt.Errorf("it ended at once: %v", p.cmd.ProcessState)
		}
		return newStartError(p.cmd.Path, err, p.stderr.String())
	}
	p.mon = mon
	go p.watch()
	return nil
}

// bury waits for the end of a QEMU that has no monitor. It should be on its way
// out, but is not relied on to get there.
func (p *Process) bury(ctx context.Context) {
	timer := time.NewTimer(lastWords)
	defer timer.Stop()
	select {
	case <-p.reaped:
	case <-ctx.Done():
	case <-timer.C:
	}
	p.cmd.Process.Kill() // does nothing when it has ended
	<-p.reaped
}

// watch passes events on until QEMU has ended, and then says how.
func (p *Process) watch() {
	reason := ""
	for e := range p.mon.Events() {
		if e.Name == "SHUTDOWN" {
			reason = shutdownReason(e)
		}
		p.publish(e)
	}
	<-p.reaped
	_ = p.mon.Close()
	p.exit = newExit(p.cmd.ProcessState, reason, p.killed.Load(), p.stderr.String())
	close(p.events)
	close(p.exited)
}

// publish adds an event to the queue, dropping the oldest when nobody reads.
func (p *Process) publish(e qmp.Event) {
	for {
		select {
		case p.events <- e:
			return
		default:
		}
		select {
		case <-p.events:
		default:
		}
	}
}

// PID returns the process ID of QEMU, which leads a process group of its own.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// QMP returns the control connection, for commands that have no method here.
// Its events are taken by the process: read [Process.Events].
func (p *Process) QMP() *qmp.Client { return p.mon }

// Events returns what happens in QEMU, in order. When nobody reads, the oldest
// of 64 events is dropped. The channel is closed when QEMU has ended.
func (p *Process) Events() <-chan qmp.Event { return p.events }

// Exited is closed when QEMU has ended; then [Process.Exit] says how.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Exit tells how QEMU ended. It may be called once Exited is closed.
func (p *Process) Exit() Exit { return p.exit }

// Wait waits until QEMU has ended and tells how, or fails with ctx's error.
func (p *Process) Wait(ctx context.Context) (Exit, error) {
	select {
	case <-p.exited:
		return p.exit, nil
	case <-ctx.Done():
		return Exit{}, fmt.Errorf("wait for qemu: %w", ctx.Err())
	}
}

// socketPair returns the two ends of the control connection.
func socketPair() (near net.Conn, far *os.File, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	far = os.NewFile(uintptr(fds[1]), "monitor of qemu")
	f := os.NewFile(uintptr(fds[0]), "monitor")
	near, err = net.FileConn(f) // makes a copy
	if err = errors.Join(err, f.Close()); err != nil {
		far.Close()
		return nil, nil, err
	}
	return near, far, nil
}
