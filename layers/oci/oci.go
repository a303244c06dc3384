// Package oci brings container images into trees.
//
// # Vocabulary
//
// An image is an OCI image layout, as a directory or the tar of one, or what
// docker save writes. It is flattened: its layers become one tree, as a
// container would see it.
//
// # Invariants
//
//   - Layers are read one after another, each once; nothing is unpacked to disk.
//   - What a layer removes from those below is gone, and no whiteouts are left.
//   - Layers are checked against their digests.
//
// # The one idea
//
// An image is a list of archives laid over each other, which is what
// [tarball.Importer] does; this package only finds the list.
//
// Format: https://github.com/opencontainers/image-spec.
package oci

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"satchel/layers"
	"satchel/layers/ingest"
	"satchel/layers/tarball"
	"satchel/store"
)

// Options say how images are read.
type Options struct {
	// Platform is which image to take where there are several, as
	// OS/ARCHITECTURE or OS/ARCHITECTURE/VARIANT; empty means linux/amd64.
	Platform string
}

const defaultPlatform = "linux/amd64"

// Import returns the tree of the image at path, which may also be the tar of an
// image, compressed or not, and stores its contents through pl, for which it
// waits.
func Import(ctx context.Context, path string, pl *ingest.Pipeline, opt Options) (layers.Tree, []layers.Note, error) {
	tree, notes, err := importImage(ctx, path, pl, opt)
	if err != nil {
		return nil, nil, fmt.Errorf("import image %s: %w", path, errors.Join(err, pl.Wait()))
	}
	return tree, notes, nil
}

func importImage(ctx context.Context, path string, pl *ingest.Pipeline, opt Options) (layers.Tree, []layers.Note, error) {
	if opt.Platform == "" {
		opt.Platform = defaultPlatform
	}
	platform, err := v1.ParsePlatform(opt.Platform)
	if err != nil {
		return nil, nil, fmt.Errorf("platform %q: %w", opt.Platform, err)
	}
	img, done, err := open(path, *platform)
	if err != nil {
		return nil, nil, err
	}
	defer done()
	list, err := img.Layers()
	if err != nil {
		return nil, nil, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, nil, err
	}
	if n := len(config.RootFS.DiffIDs); n != len(list) {
		return nil, nil, fmt.Errorf("%w: %d layers, but %d in the configuration", store.ErrCorrupt, len(list), n)
	}
	im := tarball.NewImporter(pl, tarball.Options{Flatten: true})
	for i, layer := range list {
		if err := add(ctx, im, layer, config.RootFS.DiffIDs[i]); err != nil {
			return nil, nil, fmt.Errorf("layer %d of %d: %w", i+1, len(list), err)
		}
	}
	return im.Tree()
}

// add lays one layer over those before and checks all its bytes against the
// digest that the image's configuration has for it.
func add(ctx context.Context, im *tarball.Importer, layer v1.Layer, want v1.Hash) error {
	r, err := layer.Uncompressed()
	if err != nil {
		return err
	}
	defer r.Close()
	sum := sha256.New()
	tee := io.TeeReader(r, sum)
	if err := im.Add(ctx, tee); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, tee); err != nil { // what is after the archive's end
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); want.Algorithm != "sha256" || got != want.Hex {
		return fmt.Errorf("%w: digest is sha256:%s, want %s", store.ErrCorrupt, got, want)
	}
	return nil
}

// Is reports whether there is an image at path, rather than a plain directory
// or archive.
func Is(path string) (bool, error) {
	st, err := os.Stat(path)
	if err != nil {
		return false, err
	}
	if st.IsDir() {
		_, err := os.Stat(filepath.Join(path, "oci-layout"))
		if errors.Is(err, os.ErrNotExist) {
			return false, nil
		}
		return err == nil, err
	}
	form, err := archiveForm(path)
	return form != "", err
}

// choose picks from an index the one image for a platform.
func choose(ix v1.ImageIndex, want v1.Platform, depth int) (v1.Image, error) {
	m, err := ix.IndexManifest()
	if err != nil {
		return nil, err
	}
	if depth > maxDepth {
		return nil, fmt.Errorf("indexes are nested more than %d deep", maxDepth)
	}
	var have []string
	var found []v1.Descriptor
	for _, d := range m.Manifests {
		switch {
		case d.MediaType.IsIndex() && len(m.Manifests) == 1:
			inner, err := ix.ImageIndex(d.Digest)
			if err != nil {
				return nil, err
			}
			return choose(inner, want, depth+1)
		case !d.MediaType.IsImage() && !d.MediaType.IsIndex():
		case d.Platform == nil:
			found = append(found, d)
			have = append(have, "one of no named platform")
		default:
			have = append(have, d.Platform.String())
			if d.Platform.Satisfies(want) {
				found = append(found, d)
			}
		}
	}
	switch {
	case len(found) == 0:
		return nil, fmt.Errorf("no image for platform %s; there are: %s", want, strings.Join(have, ", "))
	case len(found) > 1:
		return nil, fmt.Errorf("%d images for platform %s; there are: %s", len(found), want, strings.Join(have, ", "))
	case found[0].MediaType.IsIndex():
		inner, err := ix.ImageIndex(found[0].Digest)
		if err != nil {
			return nil, err
		}
		return choose(inner, want, depth+1)
	}
	return ix.Image(found[0].Digest)
}

// maxDepth bounds indexes within indexes.
const maxDepth = 4
