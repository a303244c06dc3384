package session

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"satchel/layers"
	"satchel/layers/compose"
	"satchel/layers/decompose"
	"satchel/layers/ingest"
	"satchel/layers/repo"
	"satchel/layers/treefs"
	"satchel/layers/workspace"
	"satchel/store"
	"satchel/vmm/delta"
)

// Captured tells which layer received what.
type Captured struct {
	Workspace string               `json:"workspace"`
	Layers    []CapturedLayer      `json:"layers"` // those that got a new version
	Decisions []decompose.Decision `json:"decisions"`
	Notes     []string             `json:"notes,omitempty"` // what could not be kept, and why
	Seconds   float64              `json:"seconds"`
	// Of a disk: what lies in the blocks that were written, and what was read
	// to capture that, of them and around them; bytes.
	WrittenBytes int64 `json:"written_bytes,omitempty"`
	ReadBytes    int64 `json:"read_bytes,omitempty"`
}

// CapturedLayer is a layer's new version.
type CapturedLayer struct {
	Kind    layers.Kind `json:"kind"`
	Name    string      `json:"name"`
	Version store.ID    `json:"version"`
	Changes int         `json:"changes"`
}

// recover captures what an earlier session left, if anything.
func (h *Host) recover(ctx context.Context, name string) (got *Captured, err error) {
	rec, err := h.Workspaces.LoadSession(name)
	if errors.Is(err, store.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if rec.State == workspace.Suspended && rec.Suspension.Overlay != "" {
		return nil, fmt.Errorf("workspace %s %w: %w, so it is captured when its session ends (satchel run %s resumes it; satchel stop --kill %s gives its memory up, what it had written is kept)", name, workspace.ErrSuspended, ErrNoAgent, name, name)
	}
	if rec.State == workspace.Suspended {
		return nil, fmt.Errorf("workspace %s %w (satchel run %s resumes it; satchel stop --kill %s gives its memory up, its files are kept)", name, workspace.ErrSuspended, name, name)
	}
	if filepath.Base(rec.Delta) == overlayFile {
		rec.Delta = h.overlay(name)
		return h.settleDisk(ctx, name, &rec)
	}
	rec.Delta = h.Workspaces.Delta(name) // where it is now: a home may be moved
	if state, err := delta.State(rec.Delta); err == nil && (state.Condition == delta.Absent || state.Condition == delta.Fresh) {
		return h.settle(ctx, name, &rec, nil) // for which the layers need not even be readable
	}
	h.note("capturing what the last session of %s left", name)
	def, err := h.Workspaces.Load(name)
	if err != nil {
		return nil, err
	}
	s, unhold, err := h.loadHeld(ctx, def, rec.Composed)
	if err != nil {
		return nil, h.kept(name, &rec, fmt.Errorf("compose what the session lay on: %w", err))
	}
	defer func() { err = errors.Join(err, unhold()) }()
	return h.settle(ctx, name, &rec, s)
}

// settle captures the delta disk of a session that has ended, and then removes
// it and the record. When it fails both stay, so that it can be done again.
func (h *Host) settle(ctx context.Context, name string, rec *workspace.Session, s *stack) (*Captured, error) {
	got, err := h.commitDisk(ctx, name, rec, s)
	if err != nil {
		return nil, h.kept(name, rec, err)
	}
	if err := errors.Join(sweep(rec.Delta), h.Workspaces.ClearMachine(name)); err != nil {
		return &got, fmt.Errorf("remove the captured delta disk: %w", err)
	}
	return &got, h.Workspaces.ClearSession(name)
}

// commitDisk commits what is on a session's delta disk, in whatever condition
// it is.
func (h *Host) commitDisk(ctx context.Context, name string, rec *workspace.Session, s *stack) (got Captured, err error) {
	got.Workspace = name
	image, notes, err := h.clean(ctx, rec.Delta)
	if err == nil && image == "" {
		return got, nil
	}
	if err == nil {
		got, err = h.commit(ctx, name, rec, s, image)
	}
	if errors.Is(err, errDisk) && errors.Is(err, store.ErrCorrupt) && (image == "" || image == rec.Delta) {
		h.note("%v: repairing a copy of it", err)
		if image, notes, err = delta.Repair(ctx, rec.Delta); err == nil {
			got, err = h.commit(ctx, name, rec, s, image)
		}
	}
	for _, n := range notes {
		got.Notes = append(got.Notes, "the delta disk: "+n.Reason)
	}
	return got, err
}

// sweep removes a disk and the copies of it that captures, or crashes, left
// beside it.
func sweep(disk string) error {
	beside, err := os.ReadDir(filepath.Dir(disk))
	for _, e := range beside {
		if name := filepath.Base(disk); e.Name() == name || strings.HasPrefix(e.Name(), name+".") {
			err = errors.Join(err, remove(filepath.Join(filepath.Dir(disk), e.Name())))
		}
	}
	return err
}

// errDisk reports that it was the delta disk that could not be read.
var errDisk = errors.New("read the delta disk")

func (h *Host) kept(name string, rec *workspace.Session, err error) error {
	return fmt.Errorf("capture workspace %s: %w\nnothing is lost: the session's changes are still in %s; try again with: satchel capture %s", name, err, rec.Delta, name)
}

// clean returns the file to capture a delta disk from: itself when it was
// unmounted cleanly, a replayed copy when not, "" when nothing was written.
func (h *Host) clean(ctx context.Context, path string) (string, []layers.Note, error) {
	state, err := delta.State(path)
	if err != nil {
		return "", nil, fmt.Errorf("%w: %w", errDisk, err)
	}
	switch state.Condition {
	case delta.Absent, delta.Fresh:
		return "", nil, nil
	case delta.Clean:
		return path, nil, nil
	default:
		h.note("the delta disk was not unmounted: replaying its journal on a copy")
		return delta.Replay(ctx, path)
	}
}

// commit sorts the changes in a clean delta disk into the writable layers and
// moves all their heads at once. Doing it again commits nothing new.
func (h *Host) commit(ctx context.Context, name string, rec *workspace.Session, s *stack, image string) (Captured, error) {
	begun := time.Now()
	w, err := h.Store.Begin(ctx, "capture "+name)
	if err != nil {
		return Captured{}, err
	}
	defer w.Close()
	out, notes, err := h.sort(ctx, w, s, image, "")
	if err != nil {
		return Captured{}, err
	}
	var got Captured
	for range maxTries {
		got = Captured{Workspace: name, Decisions: out.Decisions, Notes: notes}
		if err = h.move(ctx, w, rec, s, out, &got); !errors.Is(err, store.ErrMoved) {
			break
		}
	}
	if err != nil {
		return Captured{}, err
	}
	got.Seconds = time.Since(begun).Seconds()
	return got, h.saveDecisions(name, out.Decisions)
}

// move commits what the session wrote to each layer. It fails with
// [store.ErrMoved] when a head was moved meanwhile.
func (h *Host) move(ctx context.Context, w store.Writer, rec *workspace.Session, s *stack, out decompose.Output, got *Captured) error {
	landings, err := h.landings(ctx, rec, s, out)
	if err != nil {
		return err
	}
	message := "captured from " + got.Workspace
	var commits []repo.Commit
	for _, l := range landings {
		c, own, notes, err := h.land(ctx, w, l, message)
		if err != nil {
			return fmt.Errorf("layer %s: %w", l.pin.Name, err)
		}
		if c == nil {
			continue
		}
		commits = append(commits, *c)
		got.Notes = append(got.Notes, notes...)
		if !own.IsZero() {
			rec.Captured = append(rec.Captured, workspace.Pin{Kind: c.Kind, Layer: c.Head.Layer, Name: c.Head.Name, Version: own})
		}
	}
	staged, err := h.Repo.Stage(ctx, w, commits...)
	if err != nil {
		return err
	}
	for i, c := range commits {
		if id := staged.Versions[i]; id != c.Head.Version {
			rec.Captured = append(rec.Captured, workspace.Pin{Kind: c.Kind, Layer: c.Head.Layer, Name: c.Head.Name, Version: id})
			got.Layers = append(got.Layers, CapturedLayer{c.Kind, c.Head.Name, id, countKind(out.Decisions, c.Kind)})
		}
	}
	// The record names the versions before the heads do. Whoever captures again
	// after a crash in between then knows them for this session's own.
	if err := h.Workspaces.SaveSession(got.Workspace, *rec); err != nil {
		return err
	}
	return staged.Move(ctx)
}

func countKind(decisions []decompose.Decision, kind layers.Kind) (n int) {
	for _, d := range decisions {
		if d.Kind == kind {
			n++
		}
	}
	return n
}

// sort reads a clean delta disk and decides what becomes of its changes. With
// into all of them go to a layer of that kind.
func (h *Host) sort(ctx context.Context, w store.Writer, s *stack, image string, into layers.Kind) (decompose.Output, []string, error) {
	pl := ingest.New(ctx, w, h.Store.Domain())
	upper, left, err := delta.Read(ctx, image, pl)
	if err = errors.Join(err, pl.Wait()); err != nil {
		return decompose.Output{}, nil, fmt.Errorf("%w: %w", errDisk, err)
	}
	if err := w.Flush(ctx); err != nil {
		return decompose.Output{}, nil, err
	}
	var notes []string
	for _, n := range left {
		notes = append(notes, n.String())
	}
	in, err := s.input(ctx, upper, into)
	if err != nil {
		return decompose.Output{}, nil, err
	}
	out, err := decompose.Decompose(ctx, in)
	if err != nil {
		return out, nil, err
	}
	for kind, result := range out.Layers {
		if err := keepMade(ctx, pl, s.below[kind], result.Base); err != nil {
			return out, nil, err
		}
	}
	return out, notes, nil
}

// input is what decompose needs to know of a stack and the changes on it.
func (s *stack) input(ctx context.Context, upper layers.Tree, into layers.Kind) (decompose.Input, error) {
	if err := s.undercut(ctx, targets(into)...); err != nil {
		return decompose.Input{}, err
	}
	rules, err := decompose.ParseRules("the workspace's rules", s.rules)
	if err != nil {
		return decompose.Input{}, err
	}
	trees, bases := s.trees()
	return decompose.Input{
		Upper: upper, Lower: s.whole.Tree, Owner: s.owner,
		Layers: trees, Bases: bases,
		Below: func(kind layers.Kind, path string) *layers.Entry {
			if below := s.below[kind]; below != nil {
				return below.Tree.Find(path)
			}
			return nil
		},
		Read:  func(e *layers.Entry) ([]byte, error) { return read(ctx, s.whole, e) },
		Rules: rules, Into: into,
	}, nil
}

// targets are the kinds that changes may go to.
func targets(into layers.Kind) []layers.Kind {
	if into != "" {
		return []layers.Kind{into}
	}
	return []layers.Kind{layers.Personal, layers.System, layers.Local, layers.Data}
}

// maxRead bounds what is read into memory of a package list or a registry.
const maxRead = 64 << 20

func read(ctx context.Context, g store.Getter, e *layers.Entry) ([]byte, error) {
	if e.Size > maxRead {
		return nil, fmt.Errorf("%s: %d bytes are too many to read at once", e.Path, e.Size)
	}
	b := make([]byte, e.Size)
	if e.Size == 0 {
		return b, nil
	}
	_, err := treefs.Open(ctx, g, e).ReadAt(b, 0)
	return b, err
}

// keepMade stores those contents of a base tree that composing made, by merging
// registries, since no layer holds them.
func keepMade(ctx context.Context, pl *ingest.Pipeline, from *compose.Result, base layers.Tree) error {
	for i := range base {
		e := &base[i]
		if e.Type != layers.Regular || !from.Made(e) {
			continue
		}
		content, err := read(ctx, from, e)
		if err != nil {
			return err
		}
		if err := pl.AddStream(e, bytes.NewReader(content)); err != nil {
			return err
		}
	}
	return pl.Wait()
}

// Summary describes a capture in lines for people: which layer received what.
func (c *Captured) Summary() []string {
	var lines []string
	for _, l := range c.Layers {
		lines = append(lines, fmt.Sprintf("%-9s %s@%s  %d changes", l.Kind, l.Name, l.Version.Short(), l.Changes))
	}
	if len(lines) == 0 {
		lines = append(lines, "nothing changed")
	}
	return append(lines, c.Notes...)
}
