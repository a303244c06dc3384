// Package guest is what Satchel runs inside a guest: the program that builds
// the guest's root and hands over to its own init, the agent that serves the
// host meanwhile, and the program that closes the disks at the end.
//
// # Vocabulary
//
// The lower is the composed EROFS image, on the disk with serial "root". The
// delta disk, serial "delta", holds the overlay's upper and work directories.
// The guest's init is what the guest's own /sbin/init is, commonly systemd.
//
// # Invariants
//
//   - The guest's files are not changed to make it run here; what is not the
//     guest's own lives in /run and in the agent's mount namespace.
//   - A start that fails ends with one line, beginning with [CannotStart], on
//     the console and with the machine off, never with a kernel panic.
//   - After an orderly shutdown the delta's file system needs no recovery.
//
// # The one idea
//
// One static binary is all three programs, and which one it is follows from how
// it was started. It is process 1 when the kernel starts it, the agent is left
// behind when process 1 becomes the guest's init, and systemd starts it again
// as process 1, from /run/initramfs/shutdown, when all else has ended.
package guest
