// Package compose merges a stack of layers into the one tree that a guest
// sees.
//
// # Vocabulary
//
// A layer provides a path when it has an entry there, or, for a directory,
// when it has anything but a whiteout below it: such a directory is implied.
// The chain of a path is what the layers provide there, topmost first, down to
// the first whiteout or directory. A layer's base is what lay below it, at the
// paths it hid, when its version was made. A shadow is a file that hides one
// which has changed since then.
//
// # Rules
//
//   - The topmost file, symlink, device or pipe at a path hides all below it,
//     and everything under that path in the layers below.
//   - A directory joins with the directories below it, down to the first layer
//     where the path is something else, removed, or opaque.
//   - A directory's attributes are merged three ways, one by one: an upper
//     layer's attribute counts when it differs from its base.
//   - A file that an upper layer has only given other attributes keeps up with
//     its content below: content from below, attributes merged three ways.
//   - Registries, as [merge.For] knows them, are merged from the bottom up,
//     with the attributes of the topmost. The links of update-alternatives
//     then follow from the merged registries.
//   - The names of one file of one layer stay linked as far as they are
//     visible; the first of those carries the file.
//
// # The one idea
//
// Every layer's tree is in the same order, so one pass over all of them at
// once, holding no more than the directories on the way to the current path,
// sees everything that concerns a path together.
package compose
