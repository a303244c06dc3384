// Package initramfs makes what a guest starts from out of the guest's own file
// tree: it finds the kernel, collects the modules that the start needs, and
// packs them with Satchel's guest binary into an initial RAM file system.
//
// # Vocabulary
//
// A feature is something the kernel must be able to do before the guest's root
// is there, such as reading EROFS. A kernel has a feature built in, as a
// module, or not. The load order lists modules so that each comes after all
// that it needs.
//
// # Invariants
//
//   - The tree is only read, through [io/fs.FS]; symbolic links are resolved
//     inside it.
//   - The same tree, binary and options give the same bytes.
//   - A tree that cannot start gives one [MissingError] that names everything
//     it lacks.
//
// # The one idea
//
// The kernel's own tables, modules.dep, modules.softdep, modules.alias and
// modules.builtin, say all there is to know; no order is written down here.
package initramfs
