package qemu

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// usable is a device that can be opened.
func usable(t *testing.T) string {
	t.Helper()
	device := filepath.Join(t.TempDir(), "kvm")
	if err := os.WriteFile(device, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return device
}

func TestProbeVerdict(t *testing.T) {
	ran := []string{}
	outcome := func(errs ...error) func(context.Context, string) error {
		return func(_ context.Context, cpu string) error {
			ran = append(ran, cpu)
			return errs[len(ran)-1]
		}
	}
	for name, tc := range map[string]struct {
		run      func(context.Context, string) error
		accel    string
		cpu      string
		attempts int // of two probes together
	}{
		"works":                   {outcome(nil), KVM, "host", 1},
		"works with second model": {outcome(errDead, nil), KVM, "host,-arch-capabilities", 2},
		"slow":                    {outcome(errSlow), TCG, "", 1},
		"slow with second model":  {outcome(errDead, errSlow), TCG, "", 2},
		"dies":                    {outcome(errDead, errDead, errDead, errDead), TCG, "", 4},
	} {
		t.Run(name, func(t *testing.T) {
			ran = nil
			p := prober{usable(t), filepath.Join(t.TempDir(), "new", verdictFile), "this host", tc.run}
			for range 2 { // the second time from the file, unless it may pass
				a, err := p.probe(t.Context())
				if err != nil || a.Name != tc.accel || a.CPU != tc.cpu || a.Reason == "" {
					t.Errorf("got %+v, %v, want %s with %q", a, err, tc.accel, tc.cpu)
				}
			}
			if len(ran) != tc.attempts {
				t.Errorf("ran %q, want %d attempts", ran, tc.attempts)
			}
		})
	}
}

func TestProbeWithoutKVM(t *testing.T) {
	p := prober{device: filepath.Join(t.TempDir(), "none")}
	a, err := p.probe(t.Context())
	if err != nil || a.Name != TCG || a.Reason == "" {
		t.Errorf("got %+v, %v, want tcg with a reason", a, err)
	}
}

func TestProbeCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	file := filepath.Join(t.TempDir(), verdictFile)
	p := prober{usable(t), file, "", func(context.Context, string) error { cancel(); return errSlow }}
	if _, err := p.probe(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want cancelled", err)
	}
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a probe that was cut short left a verdict: %v", err)
	}
}

func TestStaleOrDamagedVerdict(t *testing.T) {
	file := filepath.Join(t.TempDir(), verdictFile)
	if err := writeVerdict(file, "this host", Accel{Name: KVM, CPU: "host"}); err != nil {
		t.Fatal(err)
	}
	if _, ok := readVerdict(file, "other host"); ok {
		t.Error("took the verdict of another host")
	}
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "{", string(good[:len(good)/2]), `{"version": 2, "key": "this host"}`,
		`{"version": 1, "key": "this host", "accel": {"name": "hax"}}`} {
		if err := os.WriteFile(file, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if a, ok := readVerdict(file, "this host"); ok {
			t.Errorf("took %+v from %q", a, bad)
		}
	}
}

func TestUnwritableCacheOnlyCostsAProbe(t *testing.T) {
	p := prober{usable(t), "/proc/none/accel.json", "", func(context.Context, string) error { return nil }}
	if a, err := p.probe(t.Context()); err != nil || a.Name != KVM {
		t.Errorf("got %+v, %v", a, err)
	}
}

// TestProbeProgram runs the probe's guest where it always works.
func TestProbeProgram(t *testing.T) {
	if _, err := exec.LookPath(defaultBinary); err != nil {
		t.Skip("needs QEMU:", err)
	}
	if err := runProgram(t.Context(), Accel{Name: TCG}, time.Minute); err != nil {
		t.Error(err)
	}
	if err := runProgram(t.Context(), Accel{Name: TCG}, 50*time.Millisecond); !errors.Is(err, errSlow) {
		t.Errorf("cut short: got %v, want %v", err, errSlow)
	}
	if err := runProgram(t.Context(), Accel{Name: TCG, CPU: "no-such-cpu"}, time.Minute); !errors.Is(err, errDead) {
		t.Errorf("bad CPU: got %v, want %v", err, errDead)
	}
}

// TestProbeThisHost checks that a verdict, whatever it is, is true and kept.
func TestProbeThisHost(t *testing.T) {
	if _, err := exec.LookPath(defaultBinary); err != nil {
		t.Skip("needs QEMU:", err)
	}
	dir := t.TempDir()
	first, err := ProbeAccel(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", first)
	if first.Name == KVM { // TCG is tested above
		if err := runProgram(t.Context(), first, probeTime); err != nil {
			t.Errorf("the accelerator that was chosen does not work: %v", err)
		}
	}
	if again, err := ProbeAccel(t.Context(), dir); err != nil || again != first {
		t.Errorf("second probe: %+v, %v, want %+v", again, err, first)
	}
}
