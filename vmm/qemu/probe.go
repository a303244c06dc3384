package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

const (
	kvmDevice = "/dev/kvm"
	// probeTime is how long the probe's guest may take, QEMU's own start
	// included: tens of times what a working KVM needs, on a busy host too.
	probeTime   = 5 * time.Second
	probeMemory = MinMemory
)

// kvmModels are the CPU models that are tried with KVM, best first. Some hosts
// refuse to set the register that arch-capabilities stands for.
var kvmModels = []string{"host", "host,-arch-capabilities"}

var (
	errSlow = errors.New("KVM is there, but interprets the guest's instructions: slower than software emulation")
	errDead = errors.New("QEMU ends when it uses KVM")
)

// ProbeAccel returns the best accelerator that works on this host.
//
// That /dev/kvm can be opened proves nothing: inside another virtual machine,
// KVM may interpret each instruction of a guest, which then takes minutes to
// say its first word. So a small guest must get through real work within five
// seconds; see probeProgram. It runs no kernel, and shows the difference in the
// first of its 200 million loops: on a host that interprets, it was not through
// after 20 seconds, while TCG took 2.
//
// The verdict is kept in the file accel.json in cacheDir, and holds until the
// host is restarted or its kernel, CPU or QEMU changes. If it cannot be kept,
// the next call probes again. Where KVM cannot be opened there is nothing to
// probe. ProbeAccel fails when there is no QEMU, or when ctx ends.
func ProbeAccel(ctx context.Context, cacheDir string) (Accel, error) {
	binary, err := exec.LookPath(defaultBinary)
	if err != nil {
		return Accel{}, newStartError(defaultBinary, err, "")
	}
	return prober{kvmDevice, filepath.Join(cacheDir, verdictFile), hostKey(binary), runProbe}.probe(ctx)
}

// A prober holds what a probe depends on.
type prober struct {
	device string
	cache  string // file of the verdict
	key    string // what the verdict holds for
	run    func(ctx context.Context, cpu string) error
}

func (p prober) probe(ctx context.Context) (Accel, error) {
	if reason := unusable(p.device); reason != "" {
		return Accel{Name: TCG, Reason: reason}, nil
	}
	if a, ok := readVerdict(p.cache, p.key); ok {
		return a, nil
	}
	a, err := p.try(ctx)
	switch {
	case ctx.Err() != nil:
		return Accel{}, fmt.Errorf("probe KVM: %w", ctx.Err())
	case err == nil, errors.Is(err, errSlow):
		// The verdict is worth keeping, but not worth failing for.
		_ = writeVerdict(p.cache, p.key, a)
	}
	// Any other failure is quick to run into again, and may have passed by then.
	return a, nil
}

// try runs the probe with each CPU model until one works or one is slow: a
// further model would be as slow. With an error, the accelerator is TCG.
func (p prober) try(ctx context.Context) (Accel, error) {
	var err error
	for _, cpu := range kvmModels {
		begin := time.Now()
		if err = p.run(ctx, cpu); err == nil {
			reason := fmt.Sprintf("KVM ran the probe in %.1f s", time.Since(begin).Seconds())
			return Accel{Name: KVM, CPU: cpu, Reason: reason}, nil
		}
		if ctx.Err() != nil || errors.Is(err, errSlow) {
			break
		}
	}
	return Accel{Name: TCG, Reason: err.Error()}, err
}

// unusable tells why a device cannot be opened, or nothing.
func unusable(device string) string {
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	switch {
	case err == nil:
		f.Close()
		return ""
	case errors.Is(err, os.ErrNotExist):
		return "this computer offers no KVM: there is no " + device
	case errors.Is(err, os.ErrPermission):
		return "no permission to use " + device + ": on Debian, become a member of group kvm"
	}
	return fmt.Sprintf("KVM cannot be used: %v", err)
}

// runProbe runs the probe's guest with KVM. It returns nil if the guest got
// through its work in time, else an error that says why not.
func runProbe(ctx context.Context, cpu string) error {
	return runProgram(ctx, Accel{Name: KVM, CPU: cpu}, probeTime)
}

// runProgram runs probeProgram within limit.
func runProgram(ctx context.Context, a Accel, limit time.Duration) error {
	dir, err := os.MkdirTemp("", "satchel-probe-")
	if err != nil {
		return fmt.Errorf("probe %s: %w", a.Name, err)
	}
	defer os.RemoveAll(dir)
	kernel := filepath.Join(dir, "kernel")
	if err := os.WriteFile(kernel, probeProgram, 0o600); err != nil {
		return fmt.Errorf("probe %s: %w", a.Name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	p, err := Start(ctx, Config{Name: "probe", Memory: probeMemory, Accel: a, Kernel: kernel})
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return errSlow
	default:
		return fmt.Errorf("%w: %w", errDead, err)
	}
	exit, err := p.Wait(ctx)
	if err != nil {
		p.Kill()
		return errSlow
	}
	if exit.Cause != GuestShutdown {
		return fmt.Errorf("%w: %v", errDead, exit)
	}
	return nil
}
