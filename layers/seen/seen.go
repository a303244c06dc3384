// Package seen keeps, from one import of a directory to the next, what the first
// one found.
//
// # Invariants
//
//   - A file of it that is lost, damaged or out of date costs time, nothing else.
//   - What Load returns as known is in the store, every chunk of it, and stays
//     there until the writer that was asked closes.
//
// # The one idea
//
// The entries are in the store already, as a tree. So a file holds no more than
// that tree's root and a stamp of each entry; docs/format/seen.md specifies it.
// Nothing has to keep the tree from gc: when a part of it is gone, the files
// concerned are read again.
package seen

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"satchel/layers"
	"satchel/layers/dir"
	"satchel/layers/manifest"
	"satchel/store"
	"satchel/store/durable"
)

// maxSize bounds the size of a file, in bytes: nine million entries.
const maxSize = 256 << 20

// maxFiles is how many directories are remembered in one place.
const maxFiles = 64

const suffix = ".seen"

// name is the file in which what was found below root is kept.
func name(at, root string) string {
	sum := sha256.Sum256([]byte(root))
	return filepath.Join(at, hex.EncodeToString(sum[:16])+suffix)
}

// Load returns what the last import of the directory with the absolute path root
// found, and the root of its tree. Stamps of files whose chunks are not all in
// the store are zero. The place at holds the files, and g the trees that they
// name. What is known may be nothing, and is always of use: an error only says
// why the import has to read everything.
func Load(ctx context.Context, at, root string, g store.Getter, h store.Haser) (*dir.Known, layers.Root, error) {
	known, tree, err := load(ctx, name(at, root), root, g, h)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, store.ErrNotExist) {
		err = nil // a first import, or gc has taken the tree
	}
	if err != nil {
		err = fmt.Errorf("what the last import found: %w", err)
	}
	if known == nil {
		known, tree = &dir.Known{}, layers.Root{}
	}
	return known, tree, err
}

func load(ctx context.Context, file, root string, g store.Getter, h store.Haser) (*dir.Known, layers.Root, error) {
	b, err := read(file)
	if err != nil {
		return nil, layers.Root{}, err
	}
	r, err := decode(b)
	if err != nil {
		return nil, layers.Root{}, fmt.Errorf("%s: %w", file, err)
	}
	if r.root != root {
		return nil, layers.Root{}, store.ErrNotExist
	}
	tree, err := manifest.ReadTree(ctx, g, r.tree)
	if err != nil {
		return nil, layers.Root{}, err
	}
	known := &dir.Known{Tree: tree, Stamps: r.stamps}
	return known, r.tree, distrust(ctx, known, h)
}

func read(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close() // read only
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > maxSize {
		return nil, fmt.Errorf("%s: longer than %d bytes: %w", file, maxSize, store.ErrCorrupt)
	}
	b := make([]byte, info.Size())
	_, err = io.ReadFull(f, b)
	return b, err
}

// distrust takes away the stamps of the files that the store has not all of.
func distrust(ctx context.Context, k *dir.Known, h store.Haser) error {
	var ids []store.ID
	for i := range k.Tree {
		for _, x := range k.Tree[i].Extents {
			if !x.ID.IsZero() {
				ids = append(ids, x.ID)
			}
		}
	}
	has, err := h.Has(ctx, ids)
	if err != nil {
		k.Stamps = make([]dir.Stamp, len(k.Stamps))
		return err
	}
	for i := range k.Tree {
		for _, x := range k.Tree[i].Extents {
			if x.ID.IsZero() {
				continue
			}
			if !has[0] {
				k.Stamps[i] = dir.Stamp{}
			}
			has = has[1:]
		}
	}
	return nil
}

// Save keeps what an import of the directory with the absolute path root found,
// when tree is the root of what was found. Of too many directories it forgets
// those that were imported anew the longest ago.
func Save(at, root string, k *dir.Known, tree layers.Root) error {
	err := durable.FS{}.Mkdir(at)
	if err == nil {
		err = durable.WriteFile(name(at, root), encode(record{root, tree, k.Stamps}))
	}
	if err == nil {
		err = prune(at)
	}
	if err != nil {
		return fmt.Errorf("keep what the import found: %w", err)
	}
	return nil
}
