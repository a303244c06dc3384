package qemu

import (
	"context"
	"fmt"
	"path/filepath"
)

// Status returns the state of the machine in QEMU's words: "running", "paused",
// "prelaunch", "shutdown", "internal-error", "io-error", ….
func (p *Process) Status(ctx context.Context) (string, error) {
	var s struct {
		Status string `json:"status"`
	}
	err := p.mon.Execute(ctx, "query-status", nil, &s)
	return s.Status, err
}

// Pause stops the guest's CPUs.
func (p *Process) Pause(ctx context.Context) error { return p.mon.Execute(ctx, "stop", nil, nil) }

// Resume lets the guest's CPUs run on, or run at all after [Config.Paused].
func (p *Process) Resume(ctx context.Context) error { return p.mon.Execute(ctx, "cont", nil, nil) }

// PowerDown presses the machine's power button. A guest that handles ACPI
// events powers off in its own time; one that is still booting does not notice.
func (p *Process) PowerDown(ctx context.Context) error {
	return p.mon.Execute(ctx, "system_powerdown", nil, nil)
}

// Quit ends QEMU in order, the guest at once. What QEMU had not yet written to
// the delta disk is written.
func (p *Process) Quit(ctx context.Context) error { return p.mon.Execute(ctx, "quit", nil, nil) }

// Kill ends QEMU at once and waits for its end.
func (p *Process) Kill() {
	p.killed.Store(true)
	p.cmd.Process.Kill() // fails only when QEMU has ended
	<-p.exited
}

// Screendump writes what the machine's screen shows to a PNG file. QEMU writes
// it, with the rights and the file mode of QEMU. It fails when the machine has
// no graphics device.
func (p *Process) Screendump(ctx context.Context, file string) error {
	file, err := filepath.Abs(file)
	if err != nil {
		return fmt.Errorf("screendump: %w", err)
	}
	args := map[string]string{"filename": file, "format": "png"}
	return p.mon.Execute(ctx, "screendump", args, nil)
}
