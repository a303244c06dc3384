// Package workspace keeps the workspaces of a home directory.
//
// # Vocabulary
//
// A workspace is a stack of layers with a name; its [Definition] says which
// layers. A session is one run of its guest, from the composition of the stack
// to the commit of what the guest wrote; its record, [Session], says of which
// versions it was composed and which process runs it. A home is the directory
// in which a user's store and workspaces are.
//
// # Invariants
//
//   - A file is replaced whole and durably, or stays as it was.
//   - A workspace appears and disappears whole.
//   - One process at a time runs a session in a workspace: the holder of its
//     lock. The kernel gives the lock back when the process dies.
//   - A workspace that holds uncaptured work is not removed by mistake.
//
// # The one idea
//
// What a crash must not lose is written down before it can happen: a session's
// record exists from before the guest starts until after its work is
// committed, so a record without a living process is a crash to recover from,
// unless it says that the machine is suspended.
package workspace
