// Package vmm is the contract of Satchel's guests: what runs them, and who may
// write what, and when. It holds no code; the packages below it do.
//
// # Vocabulary
//
// A machine is one virtual computer, run by one QEMU process. The composed
// image is the stack of a workspace's layers as one read-only file system; the
// machine sees it as its root disk. The delta disk is the machine's one
// writable disk, a sparse file. A guest is the operating system that runs in a
// machine, over the two disks: the image as lower, a directory of the delta
// disk as upper. The agent is our program inside the guest. A capture turns
// what the guest wrote into a tree of changes. A session is the life of a
// machine from its start to the capture of what it wrote.
//
// # Who may write
//
//   - Nobody writes to the composed image. Its server (nbd) offers no way to.
//   - While a machine runs, QEMU alone writes to the delta disk, and holds a
//     lock on the file so that a second QEMU is refused.
//   - Before a machine starts, and after it has ended however it ended, the
//     session owns the delta disk. It repairs and reads a copy, and removes the
//     disk only when the changes are in the store and the heads have moved.
//   - A live capture goes through the agent. It reads, and never writes.
//   - A machine never outlives its session: QEMU is killed by the kernel when
//     the process that started it ends. What the guest had synced is then in
//     the delta disk, for the next start to capture first.
//
// # The one idea
//
// A machine is disposable. All that is worth keeping is in immutable layers
// below and in one file above, and that file is kept until its content is in
// layers too. So every way a machine can end, from an orderly shutdown to a
// power cut, leads to the same capture.
//
// # Packages
//
// nbd serves the composed image. qemu starts, controls and stops the machine.
// initramfs, guest and agent boot it and talk to it. delta makes, checks and
// reads the delta disk. session joins them.
package vmm
