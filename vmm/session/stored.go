package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"satchel/layers"
	"satchel/layers/ingest"
	"satchel/layers/manifest"
	"satchel/layers/workspace"
	"satchel/store"
)

// Stored tells what it took to put a suspended machine into the store.
type Stored struct {
	Workspace   string   `json:"workspace"`
	Version     store.ID `json:"version"`
	Bytes       int64    `json:"bytes"`        // of memory and devices, without holes
	NewBytes    int64    `json:"new_bytes"`    // of those, what the store did not have
	StoredBytes int64    `json:"stored_bytes"` // that it takes there, compressed
	Seconds     float64  `json:"seconds"`
}

// Put moves the files of the workspace's suspended machine into the store, as
// a version that only the session's record names: no layer has it, so it never
// leaves the device. The guest goes on from there as it would from the files.
func (h *Host) Put(ctx context.Context, name string) (out Stored, err error) {
	begun := time.Now()
	release, err := h.Workspaces.Lock(name)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, release()) }()
	rec, err := h.Workspaces.LoadSession(name)
	switch {
	case err != nil:
		return out, err
	case rec.State != workspace.Suspended:
		return out, fmt.Errorf("workspace %s is not suspended (satchel capture %s first)", name, name)
	case !rec.Suspension.Stored.IsZero():
		out = Stored{Workspace: name, Version: rec.Suspension.Stored}
		return out, h.Workspaces.ClearMachine(name)
	}
	w, err := h.Store.Begin(ctx, "suspend "+name)
	if err != nil {
		return out, err
	}
	defer w.Close() // its lease ends when the record names the version
	id, err := h.putMachine(ctx, w, name)
	if err != nil {
		return out, fmt.Errorf("store the machine of %s: %w", name, err)
	}
	rec.Suspension.Stored = id
	if err := h.Workspaces.SaveSession(name, rec); err != nil {
		return out, err
	}
	stats := w.Stats()
	out = Stored{name, id, stats.Bytes, stats.NewBytes, stats.StoredBytes, time.Since(begun).Seconds()}
	return out, h.Workspaces.ClearMachine(name)
}

// putMachine writes a version that holds the two files.
func (h *Host) putMachine(ctx context.Context, w store.Writer, name string) (store.ID, error) {
	pl := ingest.New(ctx, w, h.Store.Domain())
	var tree layers.Tree
	for _, file := range []string{h.Workspaces.DevicesFile(name), h.Workspaces.MemoryFile(name)} { // in order
		tree = append(tree, layers.Entry{Path: filepath.Base(file), Type: layers.Regular, Mode: 0o600})
	}
	for i := range tree {
		if err := h.putFile(pl, &tree[i], filepath.Join(h.Workspaces.Dir(name), tree[i].Path)); err != nil {
			return store.ID{}, errors.Join(err, pl.Wait())
		}
	}
	if err := pl.Wait(); err != nil {
		return store.ID{}, err
	}
	root, err := manifest.WriteTree(ctx, w, tree)
	if err != nil {
		return store.ID{}, err
	}
	id, err := manifest.WriteVersion(ctx, w, layers.Version{Kind: layers.Local, Time: time.Now(), Message: "suspended " + name, Tree: root})
	return id, errors.Join(err, w.Flush(ctx))
}

func (h *Host) putFile(pl *ingest.Pipeline, e *layers.Entry, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	return pl.AddSparse(e, f)
}

// fetchMachine writes the files of a machine that is in the store.
func (h *Host) fetchMachine(ctx context.Context, name string, id store.ID) error {
	version, err := manifest.ReadVersion(ctx, h.Store, id)
	if err != nil {
		return err
	}
	tree, err := manifest.ReadTree(ctx, h.Store, version.Tree)
	if err != nil {
		return err
	}
	if err := h.Workspaces.ClearMachine(name); err != nil {
		return err
	}
	for _, file := range []string{h.Workspaces.DevicesFile(name), h.Workspaces.MemoryFile(name)} {
		e := tree.Find(filepath.Base(file))
		if e == nil || e.Type != layers.Regular {
			return fmt.Errorf("version %s holds no %s: %w", id.Short(), filepath.Base(file), store.ErrCorrupt)
		}
		if err := h.fetchFile(ctx, file, e); err != nil {
			return err
		}
	}
	return nil
}

// fetchFile writes a new file with the contents of an entry, holes as holes. It
// need not be durable: the store has it.
func (h *Host) fetchFile(ctx context.Context, file string, e *layers.Entry) (err error) {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.Truncate(e.Size); err != nil {
		return err
	}
	off := int64(0)
	for _, x := range e.Extents {
		if !x.ID.IsZero() {
			b, err := h.Store.Get(ctx, x.ID)
			if err == nil && int64(len(b)) != x.Len {
				err = io.ErrUnexpectedEOF
			}
			if err != nil {
				return err
			}
			if _, err := f.WriteAt(b, off); err != nil {
				return err
			}
		}
		off += x.Len
	}
	return nil
}
