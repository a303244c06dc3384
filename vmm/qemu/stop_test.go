package qemu_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"satchel/vmm/qemu"
)

// obedient powers off when the power button is pressed.
func obedient() program {
	return program{}.outw(pm1Enable, 1<<8).say(ready).awaitBit(pm1Status, 1).powerOff()
}

// stubborn does not notice the power button.
func stubborn() program { return program{}.say(ready).hang() }

func TestStop(t *testing.T) {
	errAgent := errors.New("no agent")
	fails := func(context.Context) error { return errAgent }
	lies := func(context.Context) error { return nil }
	sleeps := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	for name, tc := range map[string]struct {
		guest  program
		first  func(context.Context) error
		grace  time.Duration
		paused bool
		want   qemu.StopMethod
		err    error
	}{
		"acpi":                {guest: obedient(), grace: time.Minute, want: qemu.ByACPI},
		"acpi, agent fails":   {guest: obedient(), first: fails, grace: time.Minute, want: qemu.ByACPI, err: errAgent},
		"acpi when paused":    {guest: obedient(), paused: true, grace: time.Minute, want: qemu.ByACPI},
		"quit":                {guest: stubborn(), grace: time.Millisecond, want: qemu.ByQuit},
		"quit, agent lies":    {guest: stubborn(), first: lies, grace: time.Millisecond, want: qemu.ByQuit},
		"quit, agent is slow": {guest: stubborn(), first: sleeps, grace: time.Millisecond, want: qemu.ByQuit, err: context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			p := booted(t, tc.guest)
			if tc.paused {
				if err := p.Pause(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			got, err := p.Stop(t.Context(), tc.first, tc.grace)
			if got != tc.want || !errors.Is(err, tc.err) {
				t.Errorf("stopped by %v, %v, want %v, %v", got, err, tc.want, tc.err)
			}
			if _, open := <-p.Exited(); open {
				t.Error("still running")
			}
		})
	}
}

func TestStopByAgent(t *testing.T) {
	p := booted(t, obedient())
	agent := func(ctx context.Context) error {
		if err := p.PowerDown(ctx); err != nil { // stands in for what an agent does
			return err
		}
		<-p.Exited()
		return errors.New("the connection broke, as it must")
	}
	if got, err := p.Stop(t.Context(), agent, time.Minute); got != qemu.ByAgent || err != nil {
		t.Errorf("stopped by %v, %v, want %v", got, err, qemu.ByAgent)
	}
	if got, err := p.Stop(t.Context(), agent, time.Minute); got != qemu.ByItself || err != nil {
		t.Errorf("second stop: %v, %v, want %v", got, err, qemu.ByItself)
	}
}

func TestStopCancelledHurries(t *testing.T) {
	p := booted(t, stubborn())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got, _ := p.Stop(ctx, nil, time.Hour); got != qemu.ByQuit {
		t.Errorf("stopped by %v, want %v", got, qemu.ByQuit)
	}
}

func TestStopStuckQEMU(t *testing.T) {
	p := booted(t, stubborn())
	freeze(t, p.PID())
	if got, _ := p.Stop(t.Context(), nil, time.Millisecond); got != qemu.ByKill {
		t.Errorf("stopped by %v, want %v", got, qemu.ByKill)
	}
}
