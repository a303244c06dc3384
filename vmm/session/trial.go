package session

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"satchel/layers/workspace"
	"satchel/vmm/agent"
	"satchel/vmm/initramfs"
	"satchel/vmm/qemu"
)

// How long a guest has to reach its health mark unless the workspace says
// otherwise.
const (
	withinKVM      = 5 * time.Minute
	withinEmulated = 20 * time.Minute
)

// healthCheck is the check that a layer brings with it.
const healthCheck = "usr/lib/satchel/health"

// A trial is a start with versions that are not known to be good.
type trial struct {
	rules workspace.Mark
	on    workspace.Trial
	back  []workspace.Pin // the good versions; none: there is no way back
	mark  mark            // what the guest has to reach
	asked atomic.Bool     // somebody wants the guest to end: that is no verdict
	done  chan struct{}   // closed when there is a verdict, or will be none
	fail  *FailedTrial    // once done is closed: nil unless it failed
	once  sync.Once       // closes done
}

// A mark waits until the guest is healthy, and fails if it is not.
type mark func(ctx context.Context, s *Session) error

func newTrial(rules workspace.Mark, rec *workspace.Health) *trial {
	t := &trial{rules: rules, on: *rec.Trial, back: rec.Good, mark: reachesMark, done: make(chan struct{})}
	if rules.Runs > 0 {
		t.mark = runsFor(time.Duration(rules.Runs) * time.Second)
	}
	return t
}

// within is how long the mark may take.
func (t *trial) within(accel string) time.Duration {
	switch {
	case t.rules.Within > 0:
		return time.Duration(t.rules.Within) * time.Second
	case t.rules.Runs > 0:
		return time.Duration(t.rules.Runs)*time.Second + withinKVM
	case accel == qemu.KVM:
		return withinKVM
	}
	return withinEmulated
}

// ended says that there will be no other verdict.
func (t *trial) ended() { t.once.Do(func() { close(t.done) }) }

// A FailedTrial reports versions with which the guest did not reach its health
// mark.
type FailedTrial struct {
	Workspace string          `json:"workspace"`
	Versions  []workspace.Pin `json:"versions"` // of os and group layers
	Back      []workspace.Pin `json:"back"`     // those to go back to; none: there are none
	Reason    string          `json:"reason"`
}

func (e *FailedTrial) Error() string {
	var names []string
	for _, p := range e.Versions {
		names = append(names, p.Name+"@"+p.Version.Short())
	}
	text := fmt.Sprintf("%s did not come up well with %s: %s", e.Workspace, strings.Join(names, ", "), e.Reason)
	if len(e.Back) == 0 {
		return text + "\nit was never well with other versions: there are none to go back to"
	}
	return text
}

func (s *Session) failedTrial(reason string) *FailedTrial {
	return &FailedTrial{s.name, s.trial.on.Versions, s.trial.back, reason}
}

// watch waits, in the background, for the verdict on the trial, if the session
// is one.
func (s *Session) watch(ctx context.Context) {
	if s.trial == nil {
		return
	}
	within := s.trial.within(s.boot.Accelerator)
	go func() {
		defer s.trial.ended()
		timed, cancel := patience(ctx, within, s.waits)
		defer cancel()
		err := s.trial.mark(timed, s)
		if timed.Err() != nil && err != nil {
			err = fmt.Errorf("it took longer than %v: %w; its last words:\n%s", within, err, s.lastWords())
		}
		if err := s.judge(err); err != nil {
			s.host.note("%v", err)
		}
	}()
}

// patience is done after so long a time, or with ctx. Times in which somebody waits
// do not count: what a guest's disk waits for says nothing of the guest.
func patience(ctx context.Context, within time.Duration, waits func() bool) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	tick := time.NewTicker(min(within, time.Second)/4 + 1)
	go func() {
		defer tick.Stop()
		for last := time.Now(); within > 0; last = time.Now() {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			if !waits() {
				within -= time.Since(last)
			}
		}
		cancel()
	}()
	return ctx, cancel
}

// slow is what a disk that waits for nothing takes for a request, at most.
const slow = 5 * time.Second

// stuck reports whether the guest's disk waits for long, for what has not arrived
// from the server or for room on the host's.
func (s *Session) stuck() bool { return s.image.Waits() > slow || s.full.waits() }

// waits reports the same, and waits for the server however short.
func (s *Session) waits() bool {
	return s.stuck() || s.host.Waiting != nil && s.host.Waiting()
}

// judge notes the verdict down, durably, before anything follows from it. A
// guest that has failed is ended if there are versions to go back to; otherwise
// it runs on, to be looked at.
func (s *Session) judge(err error) error {
	sets := s.host.Workspaces
	switch {
	case err == nil:
		return sets.UpdateHealth(s.name, func(rec *workspace.Health) error { rec.Pass(time.Now().UTC()); return nil })
	case s.trial.asked.Load():
		return s.host.noVerdict(s.name)
	}
	reason := workspace.Reason(s.panicked() + err.Error())
	s.trial.fail = s.failedTrial(reason)
	back := len(s.trial.back) > 0
	err = sets.UpdateHealth(s.name, func(rec *workspace.Health) error {
		if rec.Trial != nil {
			rec.Trial.Reason = reason
		}
		if !back {
			rec.Fail(time.Now().UTC())
		}
		return nil
	})
	if back {
		s.machine.Kill()
	}
	return err
}

// panicked is the line with which the guest's kernel gave up, if it did.
func (s *Session) panicked() string {
	log, err := os.ReadFile(s.consoleLog())
	at := bytes.LastIndex(log, []byte("Kernel panic"))
	if err != nil || at < 0 {
		return ""
	}
	line, _, _ := bytes.Cut(log[at:], []byte("\n"))
	return string(bytes.TrimSpace(line)) + "\n"
}

// noVerdict does not count the start as one of the trial: it showed nothing.
func (h *Host) noVerdict(name string) error {
	return h.Workspaces.UpdateHealth(name, func(rec *workspace.Health) error { rec.NoVerdict(); return nil })
}

// unstarted judges a trial whose start failed before the guest ran: a tree that
// lacks what a guest needs has failed, anything else shows nothing of it.
func (s *Session) unstarted(ctx context.Context, err error) error {
	if s.trial == nil {
		return err
	}
	defer s.trial.ended()
	var missing *initramfs.MissingError
	if !errors.As(err, &missing) {
		return errors.Join(err, s.host.noVerdict(s.name))
	}
	ctx = context.WithoutCancel(ctx)
	reason := workspace.Reason(err.Error())
	update := s.host.Workspaces.UpdateHealth(s.name, func(rec *workspace.Health) error {
		if rec.Trial != nil {
			rec.Trial.Reason = reason
		}
		return nil
	})
	return errors.Join(s.failedTrial(reason), update, s.host.conclude(ctx, s.name))
}

// settleTrial waits for the verdict on a session whose machine has ended. Once
// its changes are captured, it does what follows from a failure; otherwise the
// next start does.
func (s *Session) settleTrial(ctx context.Context, captured bool) (*FailedTrial, error) {
	if s.trial == nil {
		return nil, nil
	}
	<-s.trial.done
	if s.trial.fail == nil || !captured {
		return s.trial.fail, nil
	}
	return s.trial.fail, s.host.conclude(ctx, s.name)
}

// onTrial reports whether a verdict is still to come.
func (s *Session) onTrial() bool {
	if s.trial == nil {
		return false
	}
	select {
	case <-s.trial.done:
		return false
	default:
		return true
	}
}

// Up waits until the guest is ready and, if its versions are on trial, has
// reached its health mark. It fails with [*FailedTrial] if it has not.
func (s *Session) Up(ctx context.Context) (Status, error) {
	if s.trial != nil {
		select {
		case <-s.trial.done:
		case <-ctx.Done():
			return s.Status(), ctx.Err()
		}
		if s.trial.fail != nil {
			return s.Status(), s.trial.fail
		}
		if s.trial.rules.Runs > 0 && !s.trial.asked.Load() {
			return s.Status(), nil
		}
	}
	return s.Ready(ctx)
}

// reachesMark is the mark of a guest with our agent: it gets to its multi-user
// state, and the checks of the workspace and of its layers say that all is well.
func reachesMark(ctx context.Context, s *Session) error {
	if _, err := s.Ready(ctx); err != nil {
		return err
	}
	if s.disk != nil {
		return nil // it has no agent to be checked through
	}
	if check := s.trial.rules.Check; check != "" {
		if err := s.runCheck(ctx, "the workspace's health check", "sh", "-c", check); err != nil {
			return err
		}
	}
	if e := s.stack.whole.Tree.Find(healthCheck); e != nil && e.Mode&0o111 != 0 {
		return s.runCheck(ctx, "the health check /"+healthCheck, "/"+healthCheck)
	}
	return nil
}

func (s *Session) runCheck(ctx context.Context, what string, argv ...string) error {
	out := &tail{}
	code, err := s.agent.Exec(ctx, agent.ExecRequest{Argv: argv, Stdout: out, Stderr: out})
	if err == nil && code != 0 {
		err = fmt.Errorf("exit status %d", code)
	}
	if err != nil {
		return fmt.Errorf("%s failed: %w\n%s", what, err, out)
	}
	return nil
}

// A tail keeps the end of what is written to it.
type tail struct{ end []byte }

// maxTail is how much a tail keeps, in bytes.
const maxTail = 2000

// Write implements [io.Writer].
func (t *tail) Write(b []byte) (int, error) {
	t.end = append(t.end, b[max(0, len(b)-maxTail):]...)
	t.end = t.end[max(0, len(t.end)-maxTail):]
	return len(b), nil
}

func (t *tail) String() string { return strings.TrimSpace(string(t.end)) }

var _ io.Writer = (*tail)(nil)

// runsFor is the mark of a guest without an agent: its machine runs that long.
func runsFor(d time.Duration) mark {
	return func(ctx context.Context, s *Session) error {
		ran, cancel := patience(ctx, d, s.waits)
		defer cancel()
		select {
		case <-ran.Done():
			return ctx.Err()
		case <-s.machine.Exited():
			return fmt.Errorf("the guest ended before it had run for %v; its last words:\n%s", d, s.lastWords())
		}
	}
}
