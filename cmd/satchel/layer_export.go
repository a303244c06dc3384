package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/klauspost/compress/zstd"
	"github.com/spf13/cobra"

	"satchel/layers"
	"satchel/layers/dir"
	"satchel/layers/tarball"
	"satchel/store"
)

func newLayerExport(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "export NAME[@VERSION] DEST",
		Short: "Write a version out as a directory or a tar file",
		Long: `Writes a version out. DEST is a directory that is empty or not there yet, a file
whose name ends in .tar or .tar.zst, or - for a tar on standard output. As root
everything is restored; another user gets the files as their own, and a note of
what could not be set.`,
		Example: `  satchel layer export debian-12 ./tree
  satchel layer export ana/data@3f2a91 ana.tar.zst`,
		Args:              args(cobra.ExactArgs(2)),
		ValidArgsFunction: a.completeLayers,
		RunE: func(c *cobra.Command, argv []string) error {
			return a.with(func(h *home) error {
				at, err := h.repo.Resolve(c.Context(), argv[0])
				if err == nil {
					err = h.repo.Whole(c.Context(), at.ID)
				}
				if err != nil {
					return err
				}
				tree, err := h.repo.Tree(c.Context(), argv[0])
				if err != nil {
					return err
				}
				m := &meter{Lender: h.store, bar: a.progress("export"), total: treeBytes(tree)}
				notes, err := exportTree(c.Context(), m, tree, argv[1], a.stdout)
				m.bar.done()
				if err != nil {
					return err
				}
				for _, n := range notes {
					a.note("%s", n)
				}
				return nil
			})
		},
	}
}

func exportTree(ctx context.Context, g store.Getter, tree layers.Tree, dest string, stdout io.Writer) ([]string, error) {
	switch {
	case dest == "-":
		return nil, tarball.Export(ctx, tree, g, stdout)
	case strings.HasSuffix(dest, ".tar"), strings.HasSuffix(dest, ".tar.zst"):
		return nil, writeFile(dest, func(f io.Writer) error {
			if !strings.HasSuffix(dest, ".zst") {
				return tarball.Export(ctx, tree, g, f)
			}
			z, err := zstd.NewWriter(f)
			if err != nil {
				return err
			}
			return errors.Join(tarball.Export(ctx, tree, g, z), z.Close())
		})
	}
	notes, err := dir.Export(ctx, tree, g, dest, dir.ExportOptions{})
	return lines(notes), err
}

// A meter shows how much of a tree has been read.
type meter struct {
	store.Lender
	bar   *progress
	total int64

	mu   sync.Mutex
	read int64
}

// Get reads a chunk and counts it.
func (m *meter) Get(ctx context.Context, id store.ID) ([]byte, error) {
	b, err := m.Lender.Get(ctx, id)
	m.count(b)
	return b, err
}

// Lend lends chunks and counts them.
func (m *meter) Lend(ctx context.Context, ids []store.ID, use func(chunks [][]byte) error) error {
	return m.Lender.Lend(ctx, ids, func(chunks [][]byte) error {
		m.count(chunks...)
		return use(chunks)
	})
}

func (m *meter) count(chunks ...[]byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, b := range chunks {
		m.read += int64(len(b))
	}
	m.bar.set(m.read, m.total)
}

// treeBytes is how many bytes of chunks the files of a tree are made of.
func treeBytes(t layers.Tree) (n int64) {
	for i := range t {
		for _, x := range t[i].Extents {
			if !x.ID.IsZero() {
				n += x.Len
			}
		}
	}
	return n
}

// writeFile makes a file that is either whole or not there.
func writeFile(name string, write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	var made *fs.PathError
	if errors.As(err, &made) {
		return fmt.Errorf("write %s: %w", name, made.Err) // made.Path is a name that nobody knows
	}
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	if err := errors.Join(write(f), f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
