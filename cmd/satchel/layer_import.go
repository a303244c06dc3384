package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"satchel/layers"
	"satchel/layers/dir"
	"satchel/layers/ingest"
	"satchel/layers/oci"
	"satchel/layers/repo"
	"satchel/layers/tarball"
	"satchel/store"
)

// imported is what layer import prints.
type imported struct {
	Name           string      `json:"name"`
	Kind           layers.Kind `json:"kind"`
	Form           layers.Form `json:"form,omitempty"`
	Version        store.ID    `json:"version"`
	Entries        int64       `json:"entries"`
	Files          int64       `json:"files"`
	Bytes          int64       `json:"bytes"`
	FilesRead      int64       `json:"files_read"` // less than files if some were known
	NewChunks      int64       `json:"new_chunks"`
	NewBytes       int64       `json:"new_bytes"`
	NewStoredBytes int64       `json:"new_stored_bytes"`
	Seconds        float64     `json:"seconds"`
	Notes          []string    `json:"notes,omitempty"`
}

func newLayerImport(a *app) *cobra.Command {
	var opt importOptions
	c := &cobra.Command{
		Use:   "import --kind KIND NAME SOURCE",
		Short: "Make a new version of a layer from a directory, a tar file, an OCI image or a disk image",
		Long: `Makes a new version of the layer NAME, and the layer itself if there is none.

SOURCE is a directory, a tar file (plain, gzip, zstd or xz), an OCI image layout
(a directory or a tar of one), a tar that docker save wrote, or - for a tar on
standard input. Files that are already in the store are not stored again. Of a
directory that was imported before, files that have not changed since are not
read again. Of kind os it may also be the image of a disk with an installed
system, raw, qcow2, vmdk, vdi or vhdx: such a guest is run as it is, and all that
it writes goes to the system layer. Read a directory that holds a whole system as root, so that owners,
devices and capabilities are kept; a tar file keeps them for any user.`,
		Example: `  satchel layer import --kind os debian-12 debian-12.tar.zst
  satchel layer import --kind os alpine ./alpine-oci-layout
  satchel layer import --kind os windows windows.qcow2
  satchel layer import --kind data ana/data /home/ana --message "first copy"
  ssh host tar -C / -cf - opt | satchel layer import --kind group tools -`,
		Args: args(cobra.ExactArgs(2)),
		RunE: func(c *cobra.Command, argv []string) error {
			k, err := layers.ParseKind(opt.kind)
			if err != nil || k == layers.Local {
				return usageError{fmt.Errorf("--kind %q: want one of os, group, personal, system, data", opt.kind)}
			}
			if err := opt.check(argv[1]); err != nil {
				return err
			}
			return a.with(func(h *home) error {
				got, err := a.importLayer(c.Context(), h, k, argv[0], argv[1], opt)
				if err != nil {
					return err
				}
				return a.print(got, func(w io.Writer) { got.write(w) })
			})
		},
	}
	c.Flags().StringVar(&opt.kind, "kind", "", "what the layer holds: os, group, personal, system or data (required)")
	c.Flags().StringVar(&opt.message, "message", "", "why this version is made")
	c.Flags().StringVar(&opt.form, "form", "auto", "what SOURCE is: auto, dir, tar, oci or disk")
	c.Flags().StringVar(&opt.format, "format", "", "the format of a disk image: raw, qcow2, vmdk, vdi or vhdx (default: by its contents)")
	c.Flags().BoolVar(&opt.reread, "reread", false, "read all files of a directory, also those that have not changed since it was last imported")
	c.MarkFlagRequired("kind") //nolint:errcheck // the flag is defined above
	completeWords(c, "kind", "os", "group", "personal", "system", "data")
	completeWords(c, "form", "auto", "dir", "tar", "oci", "disk")
	completeWords(c, "format", "raw", "qcow2", "vmdk", "vdi", "vhdx")
	return c
}

// importOptions are the flags of layer import.
type importOptions struct {
	kind, message, form string
	format              string // of a disk image
	reread              bool
}

func (a *app) importLayer(ctx context.Context, h *home, kind layers.Kind, name, source string, opt importOptions) (imported, error) {
	begun := time.Now()
	head, err := h.layerFor(ctx, name, kind)
	if err == nil {
		err = h.sameForm(ctx, head, opt.layerForm())
	}
	if err != nil {
		return imported{}, err
	}
	w, err := h.store.Begin(ctx, "import "+name)
	if err != nil {
		return imported{}, err
	}
	defer w.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	pl := ingest.New(ctx, w, h.store.Domain())
	stop := a.watch("import "+name, pl)
	seen := &sight{home: h, writer: w, reread: opt.reread}
	tree, notes, err := a.readSource(ctx, h, source, opt, pl, seen)
	if stored := pl.Wait(); err == nil {
		err = stored // else it is the same, or follows from it
	}
	stop()
	if err != nil {
		return imported{}, err
	}
	if head.Layer.IsZero() {
		if head, err = h.repo.Create(ctx, name); err != nil {
			return imported{}, err
		}
	}
	if opt.message == "" {
		opt.message = "imported from " + filepath.Base(source)
	}
	ids, err := h.repo.Commit(ctx, w, repo.Commit{Head: head, Kind: kind, Form: opt.layerForm(), Tree: tree, Message: opt.message})
	if err != nil {
		return imported{}, err
	}
	made, err := h.repo.Resolve(ctx, name+"@"+ids[0].String())
	if err != nil {
		return imported{}, err
	}
	if err := seen.keep(made.Version.Tree); err != nil {
		a.note("%v", err)
	}
	stats := w.Stats()
	read, _ := pl.Progress()
	return imported{
		Name: name, Kind: kind, Form: made.Version.Form, Version: ids[0],
		Entries: made.Version.Tree.Entries, Files: made.Version.Tree.Files, Bytes: made.Version.Tree.Bytes, FilesRead: read,
		NewChunks: stats.NewChunks, NewBytes: stats.NewBytes, NewStoredBytes: stats.StoredBytes,
		Seconds: seconds(time.Since(begun)), Notes: notes,
	}, nil
}

// layerFor finds the layer and refuses another kind than it has. The head is
// zero when there is no such layer yet.
func (h *home) layerFor(ctx context.Context, name string, kind layers.Kind) (store.Head, error) {
	head, err := h.store.Heads().Lookup(ctx, name)
	if errors.Is(err, store.ErrNotExist) {
		return store.Head{}, repo.CheckName(name)
	}
	if err != nil || head.Version.IsZero() {
		return head, err
	}
	at, err := h.repo.Resolve(ctx, name)
	if err != nil {
		return head, err
	}
	if at.Version.Kind != kind {
		return head, fmt.Errorf("layer %s is of kind %s, not %s: choose another name", name, at.Version.Kind, kind)
	}
	return head, h.unused(ctx, head)
}

// unused refuses to move a layer that receives a session's changes.
func (h *home) unused(_ context.Context, head store.Head) error {
	names, err := h.host(nil).Using(head.Layer)
	if err == nil && len(names) > 0 {
		return fmt.Errorf("layer %s receives the changes of workspace %s: %w (first: satchel stop %s)", head.Name, names[0], store.ErrBusy, names[0])
	}
	return err
}

// watch shows how far a pipeline is, until the returned function is called.
func (a *app) watch(name string, pl *ingest.Pipeline) (stop func()) {
	bar := a.progress(name)
	quit, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				_, bytes := pl.Progress()
				bar.set(bytes, 0)
			case <-quit:
				return
			}
		}
	}()
	return func() { close(quit); <-gone; bar.done() }
}

// readSource reads whatever SOURCE is into the pipeline.
func (a *app) readSource(ctx context.Context, h *home, source string, opt importOptions, pl *ingest.Pipeline, seen *sight) (layers.Tree, []string, error) {
	switch opt.form {
	case "disk":
		tree, err := h.readDisk(ctx, source, opt.format, pl)
		return tree, nil, err
	case "dir":
		if err := seen.recall(ctx, source); err != nil {
			a.note("%v", err)
		}
		tree, notes, err := dir.Import(ctx, source, pl, dir.Options{Known: seen.known})
		return tree, lines(notes), err
	case "oci":
		tree, notes, err := oci.Import(ctx, source, pl, oci.Options{})
		return tree, lines(notes), err
	case "tar":
		r, what := a.stdin, "standard input"
		if source != "-" {
			what = source
			f, err := os.Open(source)
			if err != nil {
				return nil, nil, err
			}
			defer f.Close()
			r = f
		}
		tree, notes, err := tarball.Import(ctx, r, pl, tarball.Options{})
		if errors.Is(err, tar.ErrHeader) {
			err = errors.New("it is no tar file, or a damaged one")
		}
		if err != nil {
			return nil, nil, fmt.Errorf("import %s: %w", what, err)
		}
		return tree, lines(notes), nil
	}
	return nil, nil, usageError{fmt.Errorf("--form %q: want auto, dir, tar, oci or disk", opt.form)}
}

func lines[T fmt.Stringer](notes []T) []string {
	var out []string
	for _, n := range notes {
		out = append(out, n.String())
	}
	return out
}

func (i imported) write(w io.Writer) {
	fmt.Fprintf(w, "%s@%s  %s\n", i.Name, i.Version.Short(), i.Kind)
	fmt.Fprintf(w, "%d files, %s, %d files read in %.1f s; new: %d chunks, %s, stored as %s\n",
		i.Files, size(i.Bytes), i.FilesRead, i.Seconds, i.NewChunks, size(i.NewBytes), size(i.NewStoredBytes))
	if len(i.Notes) > 0 {
		fmt.Fprintf(w, "left out or changed:\n  %s\n", strings.Join(i.Notes, "\n  "))
	}
}
