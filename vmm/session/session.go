package session

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"satchel/layers/workspace"
	"satchel/store/disk"
	"satchel/vmm/agent"
	"satchel/vmm/delta"
	"satchel/vmm/nbd"
	"satchel/vmm/overlay"
	"satchel/vmm/qemu"
)

// Options say how a guest is run. The zero value is a sensible guest.
type Options struct {
	Memory  int64  // bytes; 0: 1 GiB
	CPUs    int    // 0: two, or as many as the host has if fewer
	Display string // window, vnc or none; "": none
	Network string // user or none; "": user
	// RetryFailed tries versions again that failed in this workspace.
	RetryFailed bool

	// Of workspaces that run a disk.
	Firmware string // bios or uefi; "": what the disk is made for
	DiskBus  string // virtio or sata; "": virtio
}

// Boot tells how a session came up.
type Boot struct {
	Accelerator     string  `json:"accelerator"`
	AccelReason     string  `json:"accelerator_reason,omitempty"`
	Kernel          string  `json:"kernel"`
	Entries         int     `json:"entries"`           // paths of the composed image
	ImageBytes      int64   `json:"image_bytes"`       // size of the composed image
	MetadataBytes   int64   `json:"metadata_bytes"`    // of those, what was generated
	ComposeSeconds  float64 `json:"compose_seconds"`   // manifests to served image
	AgentSeconds    float64 `json:"agent_seconds"`     // from start until the agent answered
	Resumed         bool    `json:"resumed"`           // it was suspended, and goes on
	ReadySeconds    float64 `json:"ready_seconds"`     // from start until multi-user
	ImageBytesRead  int64   `json:"image_bytes_read"`  // distinct 4 KiB blocks that the guest read until then
	StoreBytesRead  int64   `json:"store_bytes_read"`  // compressed bytes read from packs until then
	StoreBytesRatio float64 `json:"store_bytes_ratio"` // store bytes read / image bytes
	ChunkBytesRead  int64   `json:"chunk_bytes_read"`  // the same, uncompressed
}

// Status tells how a running session is doing.
type Status struct {
	Workspace string    `json:"workspace"`
	PID       int       `json:"pid"`
	Started   time.Time `json:"started"`
	Ready     bool      `json:"ready"`           // the guest reached multi-user
	Trial     bool      `json:"trial,omitempty"` // its versions are on trial: whether it is healthy is not known yet
	Disk      bool      `json:"disk,omitempty"`  // it brings its own system, and has no agent
	Boot      Boot      `json:"boot"`
}

// End tells how a session ended and what became of its changes.
type End struct {
	Workspace string    `json:"workspace"`
	How       string    `json:"how"` // what ended the guest
	Seconds   float64   `json:"seconds"`
	Captured  *Captured `json:"captured,omitempty"`
	// Failed is why the session was ended, or might better have been.
	Failed *FailedTrial `json:"failed,omitempty"`
}

// A Session is a running guest and all that serves it.
type Session struct {
	host  *Host
	name  string
	dir   string // of the sockets
	delta string
	stack *stack
	disk  *guestDisk         // of a guest that brings its own system; then there is no stack
	top   *overlay.Disk      // what that guest writes
	rec   *workspace.Session // nil: a recording, which leaves no record
	trial *trial             // nil: the versions are known to be good

	opt         Options       // filled, unless this is a recording
	memory      *os.File      // the guest's; nil: a recording
	imageHash   string        // of the composed image
	endReads    func() error  // of that image's contents
	fingerprint string        // of the machine
	power       sync.Mutex    // held by who stops or suspends the machine
	late        chan struct{} // guarded by capture: closed when the guest has gone on after all; see goOnLate
	suspended   bool          // guarded by capture: the record says so
	awoken      chan struct{} // closed when a resumed guest has been told; nil: it was booted
	wasReady    bool          // when it was suspended

	full    fullDisk
	image   *nbd.Server
	machine *qemu.Process
	agent   *agent.Client
	started time.Time
	reads   disk.ReadStats // of the store, before the machine started

	closers []func() error // undone in reverse order at the end
	release func() error   // gives the workspace back, last of all
	server  http.Server    // of the control socket
	capture sync.Mutex     // one capture at a time

	mu    sync.Mutex
	boot  Boot
	ready bool
	how   string

	stopping sync.Once
	ended    chan struct{} // closed when end and endErr are final
	done     chan struct{} // closed when whoever waited for that was told
	end      End
	endErr   error
}

// Ready waits until the guest reaches its multi-user state.
func (s *Session) Ready(ctx context.Context) (Status, error) {
	if st := s.Status(); st.Ready { // it may be ending by now
		return st, nil
	}
	failed := make(chan error, 1)
	go func() { failed <- s.awaitReady(ctx) }()
	select {
	case err := <-failed:
		if !errors.Is(err, agent.ErrClosed) {
			return s.Status(), err
		}
		select { // the machine's end, which the agent's port mostly sees first
		case <-s.machine.Exited():
		case <-ctx.Done():
			return s.Status(), err
		}
	case <-s.machine.Exited():
	}
	return s.Status(), fmt.Errorf("the guest ended before it was ready; its last words:\n%s", s.lastWords())
}

func (s *Session) awaitReady(ctx context.Context) error {
	if _, err := s.agent.Hello(ctx); err != nil {
		return fmt.Errorf("wait for the guest agent: %w", err)
	}
	s.mu.Lock()
	if s.boot.AgentSeconds == 0 {
		s.boot.AgentSeconds = time.Since(s.started).Seconds()
	}
	s.mu.Unlock()
	if s.awoken != nil {
		<-s.awoken
	}
	if s.wasReady { // asking again takes a program's start in the guest
		s.setReady()
		return nil
	}
	if err := s.agent.Ready(ctx); err != nil {
		return fmt.Errorf("wait for the guest: %w", err)
	}
	s.setReady()
	return nil
}

// setReady notes what it took to get that far.
func (s *Session) setReady() {
	read, stats := s.host.Store.Reads(), s.image.Stats()
	read.StoredBytes -= s.reads.StoredBytes
	read.Bytes -= s.reads.Bytes
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ready {
		return // it was asked before
	}
	s.ready = true
	s.boot.ReadySeconds = time.Since(s.started).Seconds()
	s.boot.ImageBytesRead = stats.DistinctBytes
	s.boot.StoreBytesRead = read.StoredBytes
	s.boot.ChunkBytesRead = read.Bytes
	s.boot.StoreBytesRatio = float64(read.StoredBytes) / float64(max(s.boot.ImageBytes, 1))
}

// Status tells how the session is doing.
func (s *Session) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Status{Workspace: s.name, PID: os.Getpid(), Started: s.started, Ready: s.ready || s.disk != nil, Disk: s.disk != nil, Trial: s.onTrial(), Boot: s.boot}
}

// Agent is the guest agent.
func (s *Session) Agent() *agent.Client { return s.agent }

// Capture commits what the guest has changed so far, without stopping it: the
// guest's disk is frozen while the delta disk is copied, and captured from the
// copy.
func (s *Session) Capture(ctx context.Context) (got Captured, err error) {
	if s.rec == nil {
		return got, errors.New("a recording is captured when it ends")
	}
	if s.disk != nil {
		return got, fmt.Errorf("%w that could hold its disk still: it is captured when it ends", ErrNoAgent)
	}
	s.capture.Lock()
	defer s.capture.Unlock()
	select {
	case <-s.machine.Exited():
		return got, errors.New("the guest has ended: what it changed is captured as its session ends")
	default:
	}
	if err := s.wentOn(ctx); err != nil { // it thaws the disk, and must not do so in the midst of this
		return got, err
	}
	copied := s.delta + ".live"
	defer os.Remove(copied)
	if err := s.frozenCopy(ctx, copied); err != nil {
		return got, err
	}
	return s.host.commit(ctx, s.name, s.rec, s.stack, copied)
}

// frozen is how long the guest's disk may stand still before it thaws itself.
const frozen = 30 * time.Second

func (s *Session) frozenCopy(ctx context.Context, to string) error {
	if err := s.agent.Freeze(ctx, frozen); err != nil {
		return fmt.Errorf("freeze the guest's disk: %w", err)
	}
	copyErr := delta.Copy(ctx, s.delta, to)
	if err := s.agent.Thaw(context.WithoutCancel(ctx)); err != nil {
		// It thawed itself meanwhile: the copy may be torn.
		return errors.Join(copyErr, fmt.Errorf("thaw the guest's disk: %w", err))
	}
	return copyErr
}

// Stop ends the guest, politely unless kill is set, and waits for the end.
func (s *Session) Stop(ctx context.Context, kill bool) (End, error) {
	s.stop(ctx, kill)
	return s.Wait(ctx)
}

// grace is how long each way of stopping a guest is given.
const grace = 90 * time.Second

func (s *Session) stop(ctx context.Context, kill bool) {
	if s.trial != nil {
		s.trial.asked.Store(true)
	}
	if kill { // also while somebody waits for a polite stop
		s.machine.Kill()
		return
	}
	s.stopping.Do(func() {
		s.power.Lock()
		defer s.power.Unlock()
		var ask func(context.Context) error
		if s.agent != nil {
			ask = s.agent.Shutdown
		}
		how, err := s.machine.Stop(ctx, ask, grace)
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.how = string(how); err != nil {
			s.how += " (" + err.Error() + ")"
		}
	})
}

// Wait waits for the end of the session, whoever ends it.
func (s *Session) Wait(ctx context.Context) (End, error) {
	select {
	case <-s.done:
		return s.end, s.endErr
	case <-ctx.Done():
		return End{}, ctx.Err()
	}
}

// farewell is how long the end waits for those who are being told of it.
const farewell = 10 * time.Second

// supervise waits for the guest to end, takes everything down and captures.
func (s *Session) supervise(ctx context.Context) {
	<-s.machine.Exited()
	s.stopping.Do(func() {}) // waits for a stop that is about to say how
	err := s.close()
	s.mu.Lock()
	end := End{Workspace: s.name, How: s.how, Seconds: time.Since(s.started).Seconds()}
	s.mu.Unlock()
	if end.How == "" {
		end.How = s.machine.Exit().String()
	}
	if s.rec != nil {
		s.capture.Lock()
		if s.late != nil {
			<-s.late
		}
		var captureErr error
		if s.suspended {
			end.How = string(workspace.Suspended)
		} else {
			end.Captured, captureErr = s.settle(ctx)
		}
		s.capture.Unlock()
		failed, trialErr := s.settleTrial(ctx, captureErr == nil)
		end.Failed = failed
		err = errors.Join(err, captureErr, trialErr)
	}
	s.end, s.endErr = end, errors.Join(err, s.release())
	close(s.ended)
	told, cancel := context.WithTimeout(ctx, farewell)
	defer cancel()
	s.server.Shutdown(told) //nolint:errcheck // who has not listened by now is not waited for
	close(s.done)
}

// undo remembers what close has to undo.
func (s *Session) undo(fn func() error) { s.closers = append(s.closers, fn) }

func (s *Session) close() error {
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		if err := s.closers[i](); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	s.closers = nil
	return errors.Join(errs...)
}

// screenshot returns what the guest's screen shows.
func (s *Session) screenshot(ctx context.Context) ([]byte, error) {
	file := filepath.Join(s.dir, "screen.png")
	defer os.Remove(file)
	if err := s.machine.Screendump(ctx, file); err != nil {
		return nil, err
	}
	return os.ReadFile(file)
}

// lastWords is the end of the serial console's log.
func (s *Session) lastWords() string {
	const most = 2000
	b, err := os.ReadFile(s.consoleLog())
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-most):])
}

func (s *Session) consoleLog() string {
	return filepath.Join(s.host.Workspaces.Dir(s.name), "console.log")
}
