package qemu

import "fmt"

// An Accel is what runs the guest's instructions. The zero value is TCG.
type Accel struct {
	Name   string `json:"name"`   // [KVM] or [TCG]
	CPU    string `json:"cpu"`    // model that the guest sees; empty: the best for the accelerator
	Reason string `json:"reason"` // why this one, for people
}

// The accelerators.
const (
	KVM = "kvm" // the processor's own support for guests
	TCG = "tcg" // translation in software; works everywhere, many times slower
)

func (a *Accel) check() error {
	switch a.Name {
	case "", TCG, KVM:
		return nil
	}
	return fmt.Errorf("%w: accelerator %q, want kvm or tcg", ErrConfig, a.Name)
}

func (a *Accel) args() []string {
	name, cpu := "tcg,thread=multi", "max"
	if a.Name == KVM {
		name, cpu = "kvm", "host"
	}
	if a.CPU != "" {
		cpu = a.CPU
	}
	return []string{"-accel", name, "-cpu", cpu}
}
