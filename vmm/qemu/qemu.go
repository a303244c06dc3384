// Package qemu runs one guest in one QEMU process.
//
// # Vocabulary
//
// A [Config] says what the machine is made of; [Args] turns it into a command
// line. [Start] returns a [Process], the running machine, which is controlled
// over QMP (see the qmp package below). The root disk is read from a block
// server over NBD and never written; the delta disk is the one thing that a
// guest writes. The accelerator is what runs the guest's instructions: KVM, or
// TCG, which translates them in software.
//
// # Invariants
//
//   - QEMU never outlives the process that started it. The root disk is served
//     by that process, so a guest left alone could only fail; and what the
//     guest had synced lies in the delta disk whatever happens to QEMU.
//   - Nothing is read from the machine's own configuration files, and QEMU may
//     start no program and gain no right: it runs in its seccomp sandbox.
//   - An exit is reported once, with its cause and QEMU's own words.
//   - KVM is used only where a probe has seen it run a guest at speed.
//
// # The one idea
//
// The control connection is inherited, not dialled: QEMU gets one end of a
// socket pair. There is no path to guard, no moment at which it is not there
// yet, and its end is the end of QEMU. The connection to a disk that the guest
// writes is inherited too, so that it can have a larger buffer than QEMU's.
//
// Lifetime: a thread that does nothing else starts QEMU and waits for it. The
// kernel ties the parent-death signal to the starting thread, so this thread
// is locked to its goroutine until QEMU has exited. The signal is SIGKILL: a
// QEMU whose block server is gone may hang in an orderly exit, and it holds no
// data that a guest had been told is safe, because a flush of the delta disk
// reaches the host's kernel before the guest is answered.
package qemu
