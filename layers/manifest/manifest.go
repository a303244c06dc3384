// Package manifest stores versions and trees as chunks and reads them back.
//
// # Vocabulary
//
// A version chunk holds a [layers.Version]. A tree is stored as a search tree
// of nodes: a leaf holds a run of entries, an inner node lists the nodes below
// it, each by its first path, ID and number of entries. A list holds extents of
// a file that has too many to keep in its entry.
//
// # Invariants
//
//   - Encoding is canonical: equal trees have equal IDs, and the decoder takes
//     no other form of a number, path or entry.
//   - Every manifest chunk begins with [Magic], and no chunk of file contents
//     does (see the package ingest), so that a walk never takes one for the
//     other.
//   - Whatever is read is bounded before memory is spent on it, and damage is
//     reported as [store.ErrCorrupt].
//
// # The one idea
//
// Nodes and lists are cut where a hash of what they hold says so, not where a
// count runs out. An edit therefore changes the nodes on its own path only: two
// versions share all others, and a comparison skips them by ID.
//
// The form of search tree is known as a prolly tree, first described in the
// documentation of Noms; the bytes are specified in docs/format/manifest.md.
package manifest

import (
	"context"
	"fmt"

	"satchel/layers"
	"satchel/store"
)

// Magic begins every manifest chunk. Its first byte does not occur again in
// it, so a chunk of contents that begins with it loses that property when it
// is cut after its first byte.
const Magic = "\x89SLM"

// Version is the version of the format that this package writes and reads.
const Version = 1

// diskVersion is the version of the format that versions of disk form have, so
// that programs that do not know disks say so. All else is as in Version.
const diskVersion = 2

// What a manifest chunk holds, as the byte after Magic.
const (
	kindVersion byte = 'V'
	kindNode    byte = 'N'
	kindList    byte = 'X'
)

const headerLen = len(Magic) + 2

// Write stores tree and base, which must pass [layers.Tree.Check], and then v
// with its fields Tree and Base set to them, and returns the ID of the version.
// What a type of file does not carry, such as the mode of a hard link, is not
// stored. The caller flushes.
func Write(ctx context.Context, p store.Putter, v layers.Version, tree, base layers.Tree) (store.ID, error) {
	var err error
	if v.Tree, err = WriteTree(ctx, p, tree); err != nil {
		return store.ID{}, fmt.Errorf("write tree: %w", err)
	}
	if v.Base, err = WriteTree(ctx, p, base); err != nil {
		return store.ID{}, fmt.Errorf("write base: %w", err)
	}
	return WriteVersion(ctx, p, v)
}

// WriteVersion stores v, whose trees are stored already, and returns its ID.
func WriteVersion(ctx context.Context, p store.Putter, v layers.Version) (store.ID, error) {
	b, err := encodeVersion(v)
	if err != nil {
		return store.ID{}, fmt.Errorf("write version: %w", err)
	}
	ids, err := p.Put(ctx, b)
	if err != nil {
		return store.ID{}, fmt.Errorf("write version: %w", err)
	}
	return ids[0], nil
}

// ReadVersion reads the version of that ID.
func ReadVersion(ctx context.Context, g store.Getter, id store.ID) (layers.Version, error) {
	b, err := g.Get(ctx, id)
	if err != nil {
		return layers.Version{}, fmt.Errorf("read version %s: %w", id.Short(), err)
	}
	v, err := decodeVersion(b)
	if err != nil {
		return layers.Version{}, fmt.Errorf("read version %s: %w", id.Short(), err)
	}
	return v, nil
}
