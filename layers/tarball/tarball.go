// Package tarball brings tar archives into trees and trees out into archives.
//
// # Vocabulary
//
// A model is what extracting the archive would make, without contents: names in
// directories, and the files that they name.
//
// # Invariants
//
//   - An archive is read once, in order. Memory is bounded by its number of
//     entries, not by their sizes.
//   - Names mean what they would mean to tar run below an empty root directory:
//     later entries replace earlier ones, a link that leads to a directory is
//     followed below that root, and nothing leads outside.
//   - Everything that a tree holds goes into an archive, whiteouts and opaque
//     directories in the way of OCI image layers.
//
// # The one idea
//
// An entry of an archive is a step that changes a file system, so the import
// takes those steps on a model of one and reads the tree off it in the end.
//
// Formats: POSIX.1-2017 pax, https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html,
// the GNU tar manual for sparse files and attributes, and the OCI image
// specification, https://github.com/opencontainers/image-spec/blob/main/layer.md.
package tarball

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"satchel/layers"
	"satchel/layers/ingest"
)

// How OCI image layers mark what they remove from the layers below.
const (
	whiteoutPrefix = ".wh."
	whiteoutMeta   = ".wh..wh."
	whiteoutOpaque = ".wh..wh..opq"
)

// maxSparse bounds the size in bytes of a sparse file, whose holes take no room
// in an archive but are searched for data.
const maxSparse = 1 << 40

// Options say how archives are read.
type Options struct {
	// OCI reads the marks of OCI image layers as whiteouts and opaque
	// directories, where tar sees files with odd names.
	OCI bool
	// Flatten takes the archives of an Importer for the layers of one OCI image,
	// the lowest first, and applies their whiteouts instead of keeping them.
	Flatten bool
}

// Import returns the tree of an archive, which may be compressed with gzip,
// zstd, xz or bzip2, and whose contents it stores through pl, for which it
// waits.
func Import(ctx context.Context, r io.Reader, pl *ingest.Pipeline, opt Options) (layers.Tree, []layers.Note, error) {
	im := NewImporter(pl, opt)
	if err := im.Add(ctx, r); err != nil {
		return nil, nil, errors.Join(err, pl.Wait())
	}
	return im.Tree()
}

// An Importer makes one tree of several archives, each laid over those before.
type Importer struct {
	pl    *ingest.Pipeline
	opt   Options
	root  *node
	layer int // number of archives added
	notes []layers.Note
}

// NewImporter returns an importer that stores contents through pl.
func NewImporter(pl *ingest.Pipeline, opt Options) *Importer {
	return &Importer{pl: pl, opt: opt, root: newDir()}
}

// Add lays an archive over those before. The importer is of no more use after
// an error.
func (im *Importer) Add(ctx context.Context, r io.Reader) error {
	im.layer++
	plain, err := Decompress(r)
	if err != nil {
		return fmt.Errorf("read archive: %w", err)
	}
	defer plain.Close()
	tr := tar.NewReader(plain)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read archive: %w", err)
		}
		if err := im.entry(h, tr); err != nil {
			return fmt.Errorf("read archive: entry %.300q: %w", h.Name, err)
		}
	}
}

// Tree waits for the contents to be stored and returns what the archives made.
func (im *Importer) Tree() (layers.Tree, []layers.Note, error) {
	if err := im.pl.Wait(); err != nil {
		return nil, nil, err
	}
	t := im.root.tree()
	if err := t.Check(); err != nil {
		return nil, nil, fmt.Errorf("read archive: %w", err)
	}
	return t, im.notes, nil
}

// entry takes the step that an archive's entry stands for.
func (im *Importer) entry(h *tar.Header, r io.Reader) error {
	name, err := cleanName(h.Name)
	if err != nil {
		return err
	}
	dir, base := path.Split(name)
	dir = strings.TrimSuffix(dir, "/")
	if (im.opt.OCI || im.opt.Flatten) && strings.HasPrefix(base, whiteoutPrefix) {
		return im.whiteout(dir, base)
	}
	if h.Typeflag == tar.TypeLink {
		return im.link(dir, base, h.Linkname)
	}
	e, err := im.header(h, name)
	if e == nil || err != nil {
		return err
	}
	if name == "" {
		if e.Type != layers.Dir {
			return errors.New("the root is not a directory")
		}
		e.Opaque = im.root.file != nil && im.root.file.Opaque
		im.root.file = e
		return nil
	}
	if e.Type == layers.Regular {
		if err := im.content(h, e, r); err != nil {
			return err
		}
	}
	parent, err := im.dir(dir)
	if err != nil {
		return err
	}
	parent.put(base, e, im.layer)
	return nil
}

func (im *Importer) content(h *tar.Header, e *layers.Entry, r io.Reader) error {
	sparse := h.Typeflag == tar.TypeGNUSparse
	for key := range h.PAXRecords {
		sparse = sparse || strings.HasPrefix(key, "GNU.sparse.")
	}
	if sparse && h.Size > maxSparse {
		return fmt.Errorf("sparse file of %d bytes is larger than %d", h.Size, int64(maxSparse))
	}
	if sparse {
		return im.pl.AddSparse(e, r)
	}
	return im.pl.AddStream(e, r)
}

// link gives a file one more name.
func (im *Importer) link(dir, base, target string) error {
	to, err := cleanName(target)
	if err != nil {
		return fmt.Errorf("hard link: %w", err)
	}
	tdir, tbase := path.Split(to)
	from, err := im.dir(strings.TrimSuffix(tdir, "/"))
	if err != nil {
		return fmt.Errorf("hard link: %w", err)
	}
	n := from.kids[tbase]
	if n == nil || n.kids != nil || n.file.Type == layers.Whiteout {
		return fmt.Errorf("hard link to %.300q, which is no file of the archive", target)
	}
	parent, err := im.dir(dir)
	if err != nil {
		return err
	}
	parent.put(base, n.file, im.layer)
	return nil
}

// whiteout takes the step of an OCI mark.
func (im *Importer) whiteout(dir, base string) error {
	parent, err := im.dir(dir)
	if err != nil {
		return err
	}
	hidden := strings.TrimPrefix(base, whiteoutPrefix)
	switch {
	case base == whiteoutOpaque && im.opt.Flatten:
		parent.removeBelow(im.layer)
	case base == whiteoutOpaque:
		parent.makeOpaque()
	case strings.HasPrefix(base, whiteoutMeta), hidden == "":
		// bookkeeping of the union file system that the layer was made on
	case im.opt.Flatten:
		if n := parent.kids[hidden]; n != nil && n.layer < im.layer {
			delete(parent.kids, hidden)
		}
	case parent.kids[hidden] == nil:
		if err := layers.CheckPath(hidden); err != nil {
			return err
		}
		parent.put(hidden, &layers.Entry{Type: layers.Whiteout}, im.layer)
	default: // removed below, and made again in this layer
		parent.kids[hidden].makeOpaque()
	}
	return nil
}

// cleanName returns a name of an archive as a path of a tree.
func cleanName(name string) (string, error) {
	var elems []string
	for elem := range strings.SplitSeq(name, "/") {
		switch elem {
		case "", ".":
		case "..":
			return "", fmt.Errorf("name %.300q leads out of the archive", name)
		default:
			elems = append(elems, elem)
		}
	}
	clean := strings.Join(elems, "/")
	return clean, layers.CheckPath(clean)
}
