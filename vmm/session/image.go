package session

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"

	"satchel/layers/compose"
	"satchel/layers/erofs"
	"satchel/layers/merge"
	"satchel/vmm/nbd"
)

// ImageFacts tell about a composed image.
type ImageFacts struct {
	Entries       int              `json:"entries"`
	Bytes         int64            `json:"bytes"`
	MetadataBytes int64            `json:"metadata_bytes"`
	Conflicts     []merge.Conflict `json:"conflicts"`
	Shadowed      []compose.Shadow `json:"shadowed"`
}

// WriteImage composes the workspace's layers at their heads and writes the
// image to a file, which is whole when it appears.
func (h *Host) WriteImage(ctx context.Context, name, file string, progress func(done, total int64)) (facts ImageFacts, err error) {
	def, err := h.Workspaces.Load(name)
	if err != nil {
		return facts, err
	}
	versions, err := h.current(ctx, def)
	if err != nil {
		return facts, err
	}
	for _, v := range versions {
		if err := h.Repo.Whole(ctx, v.Version); err != nil {
			return facts, fmt.Errorf("layer %s: %w", v.Name, err)
		}
	}
	s, err := h.load(ctx, def, versions)
	if err != nil {
		return facts, err
	}
	release, err := h.Store.Hold(ctx, "compose "+name, roots(versions)...)
	if err != nil {
		return facts, err
	}
	defer func() { err = errors.Join(err, release()) }()
	image, err := erofs.New(s.whole.Tree, s.whole, erofs.Options{})
	if err != nil {
		return facts, fmt.Errorf("compose the image: %w", err)
	}
	facts = ImageFacts{len(s.whole.Tree), image.Size(), image.Stats().Metadata, s.whole.Conflicts, s.whole.Shadowed}
	return facts, writeSparse(ctx, file, image, progress)
}

// writeSparse copies an image into a new file and leaves holes for its zeros.
func writeSparse(ctx context.Context, file string, image *erofs.Image, progress func(done, total int64)) (err error) {
	part := file + ".part"
	f, err := os.Create(part)
	if err != nil {
		return fmt.Errorf("write %s: %w", file, errors.Unwrap(err))
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err == nil {
			err = os.Rename(part, file)
		} else {
			os.Remove(part)
		}
	}()
	if err := f.Truncate(image.Size()); err != nil {
		return err
	}
	err = image.CopyTo(ctx, f, func(done int64) { progress(done, image.Size()) })
	if err != nil {
		return err
	}
	return f.Sync()
}

// A device is an image as the block server takes it.
type device struct{ *erofs.Image }

// Runs tells what a range consists of.
func (d device) Runs(off, length int64) iter.Seq[nbd.Run] {
	return func(yield func(nbd.Run) bool) {
		for r := range d.Image.Runs(off, length) {
			if !yield(nbd.Run{Length: r.Len, Hole: r.Hole, Zero: r.Hole}) {
				return
			}
		}
	}
}
