package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"satchel/layers"
	"satchel/layers/diskimage"
	"satchel/layers/ingest"
	"satchel/layers/oci"
	"satchel/store"
)

// check finds out what SOURCE is, where the flags do not say.
func (o *importOptions) check(source string) (err error) {
	if o.format != "" {
		if _, err := diskimage.ParseFormat(o.format); err != nil {
			return usageError{fmt.Errorf("--format: %w", err)}
		}
		if o.form != "auto" && o.form != "disk" {
			return usageError{fmt.Errorf("--format is that of a disk image, not of --form %s", o.form)}
		}
		o.form = "disk"
	}
	if o.form == "auto" {
		if o.form, err = sourceForm(source, layers.Kind(o.kind)); err != nil {
			return err
		}
	}
	if o.form == "disk" && layers.Kind(o.kind) != layers.OS {
		return usageError{fmt.Errorf("a disk image makes a layer of kind os, not %s", o.kind)}
	}
	return nil
}

// layerForm is the form of the version that is made.
func (o *importOptions) layerForm() layers.Form {
	if o.form == "disk" {
		return layers.Disk
	}
	return layers.Files
}

// sourceForm looks at SOURCE to tell what it is.
func sourceForm(source string, kind layers.Kind) (string, error) {
	if source == "-" {
		return "tar", nil
	}
	st, err := os.Stat(source)
	if err != nil {
		return "", err
	}
	image, err := oci.Is(source)
	switch {
	case err != nil:
		return "", err
	case image:
		return "oci", nil
	case st.IsDir():
		return "dir", nil
	case kind != layers.OS:
		return "tar", nil
	}
	if _, err = diskimage.Detect(source); errors.Is(err, diskimage.ErrUnknown) {
		return "tar", nil
	}
	return "disk", err
}

// readDisk reads a disk image into the pipeline.
func (h *home) readDisk(ctx context.Context, source, format string, pl *ingest.Pipeline) (layers.Tree, error) {
	if format == "" {
		found, err := diskimage.Detect(source)
		if err != nil {
			return nil, fmt.Errorf("%w (--format raw takes it as it is)", err)
		}
		format = string(found)
	}
	tmp := filepath.Join(h.dir, "cache")
	if err := os.MkdirAll(tmp, 0o700); err != nil {
		return nil, err
	}
	return diskimage.Import(ctx, source, diskimage.Format(format), tmp, pl)
}

// sameForm refuses to make a disk of a layer of files, and the reverse.
func (h *home) sameForm(ctx context.Context, head store.Head, form layers.Form) error {
	if head.Version.IsZero() {
		return nil
	}
	at, err := h.repo.Resolve(ctx, head.Name)
	if err != nil || at.Version.Form == form {
		return err
	}
	has := "files"
	if at.Version.Form == layers.Disk {
		has = "a disk"
	}
	return fmt.Errorf("layer %s holds %s: choose another name", head.Name, has)
}
