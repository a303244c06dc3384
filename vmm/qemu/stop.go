package qemu

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"satchel/vmm/qemu/qmp"
)

// A StopMethod says what ended a machine.
type StopMethod string

// The methods, gentlest first.
const (
	ByItself StopMethod = "itself" // it had ended before
	ByAgent  StopMethod = "agent"  // the guest's agent shut it down
	ByACPI   StopMethod = "acpi"   // the guest obeyed the power button
	ByQuit   StopMethod = "quit"   // QEMU obeyed, the guest was cut off
	ByKill   StopMethod = "kill"   // nothing else helped
)

const (
	pressAgain = 3 * time.Second // between two presses of the power button: early ones get lost
	quitGrace  = 5 * time.Second // for QEMU to write out what it holds
	answerTime = 2 * time.Second // for QEMU to answer; longer means that it is stuck
)

// Stop ends the machine in the gentlest way that works: first asks the guest's
// agent, if it is not nil; then the power button is pressed, again and again;
// then QEMU quits; then it is killed. The agent and the button get grace each.
// When ctx ends, or the guest cannot run, the gentle ways are cut short. When
// Stop returns, QEMU has ended. The error, if any, is what the agent said when
// it failed; the machine has stopped all the same.
func (p *Process) Stop(ctx context.Context, first func(context.Context) error, grace time.Duration) (StopMethod, error) {
	select {
	case <-p.exited:
		return ByItself, nil
	default:
	}
	var asked error
	if p.unpause(ctx) {
		if first != nil {
			asked = p.ask(ctx, first, grace)
			if asked == nil && p.endsWithin(ctx, grace) {
				return ByAgent, nil
			}
		}
		if p.press(ctx, grace) {
			return ByACPI, asked
		}
	}
	return p.force(context.WithoutCancel(ctx)), asked
}

// unpause sees to it that the guest can hear us and reports whether it can.
func (p *Process) unpause(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	status, err := p.Status(ctx)
	if err != nil {
		return false
	}
	switch status {
	case "running":
		return true
	case "paused", "prelaunch", "suspended":
		return p.Resume(ctx) == nil
	}
	return false // internal error, panic, disk error: only force helps
}

// ask calls first, for at most grace and while the machine runs.
func (p *Process) ask(ctx context.Context, first func(context.Context) error, grace time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, grace)
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-p.exited:
			cancel()
		case <-ctx.Done():
		}
	})
	err := first(ctx)
	cancel()
	wg.Wait()
	if err != nil && !p.ended() {
		return fmt.Errorf("stop through the agent: %w", err)
	}
	return nil
}

// press presses the power button until the machine ends or grace is over.
func (p *Process) press(ctx context.Context, grace time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	for ctx.Err() == nil {
		wait := pressAgain
		if p.PowerDown(ctx) != nil { // no monitor: QEMU is ending, or never will
			wait = lastWords
		}
		if p.endsWithin(ctx, wait) {
			return true
		}
	}
	return p.ended()
}

// force ends QEMU whatever the guest does.
func (p *Process) force(ctx context.Context) StopMethod {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	err := p.Quit(ctx)
	if (err == nil || errors.Is(err, qmp.ErrClosed)) && p.endsWithin(context.WithoutCancel(ctx), quitGrace) {
		return ByQuit
	}
	p.Kill()
	return ByKill
}

// endsWithin waits for the end of QEMU, for at most d.
func (p *Process) endsWithin(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-p.exited:
		return true
	case <-ctx.Done():
	case <-timer.C:
	}
	return p.ended()
}

func (p *Process) ended() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}
