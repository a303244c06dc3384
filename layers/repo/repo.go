// Package repo keeps named layers in a store.
//
// # Vocabulary
//
// A reference is the name of a layer, for its newest version, or
// NAME@VERSION with at least six hexadecimal digits of a version of that
// layer's history. A commit makes a new version of a layer and moves its head
// to it.
//
// # Invariants
//
//   - Heads move only from where the committer believed them to be, and those
//     of one call move together or not at all.
//   - A head's version, with all it refers to, is durable before the head
//     names it.
//   - Nothing is ever taken out of a history: a rollback adds to it.
//
// # The one idea
//
// A layer is its head. All else is immutable, and found from there.
package repo

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"satchel/layers"
	"satchel/layers/manifest"
	"satchel/store"
	"satchel/store/disk"
)

// A Repo gives access to the layers of a store. It may be used by several
// goroutines at once.
type Repo struct {
	st     *disk.Store
	device string
}

// New returns the layers of st. New versions will say that they were made on
// device.
func New(st *disk.Store, device string) *Repo { return &Repo{st, device} }

// Walker returns what garbage collection and checking of the store go by: from
// a version it reaches all its history, but no trees of versions that the store
// holds only the records of.
func (r *Repo) Walker() store.Walker { return manifest.Walk(r.st, r.st.Heads().Partial) }

// MaxName is the longest name of a layer, in bytes.
const MaxName = 255

// CheckName reports why a layer may not have that name.
func CheckName(name string) error {
	bad := func(reason string) error { return fmt.Errorf("layer name %.80q %s", name, reason) }
	const allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-/+:,"
	switch {
	case name == "":
		return errors.New("layer name is empty")
	case len(name) > MaxName:
		return bad(fmt.Sprintf("is longer than %d bytes", MaxName))
	case strings.ContainsFunc(name, func(r rune) bool { return !strings.ContainsRune(allowed, r) }):
		return bad("holds something other than letters, digits and . _ - / + : ,")
	case strings.HasPrefix(name, "/") || strings.HasSuffix(name, "/") || strings.Contains(name, "//"):
		return bad("has a slash at its beginning or end, or two in a row")
	case strings.Contains(name, ".."):
		return bad(`holds ".."`)
	}
	return nil
}

// Create adds a layer without a version. It fails with [store.ErrExist] when
// the name is taken.
func (r *Repo) Create(ctx context.Context, name string) (store.Head, error) {
	if err := CheckName(name); err != nil {
		return store.Head{}, err
	}
	h, err := r.st.Heads().Create(ctx, name)
	if err != nil {
		return store.Head{}, fmt.Errorf("create layer %q: %w", name, err)
	}
	return h, nil
}

// Rename gives a layer another name. It fails with [store.ErrNotExist] when
// there is no such layer, and with [store.ErrExist] when the name is taken.
func (r *Repo) Rename(ctx context.Context, name, to string) error {
	if err := CheckName(to); err != nil {
		return err
	}
	head, err := r.st.Heads().Lookup(ctx, name)
	if err == nil {
		err = r.st.Heads().Rename(ctx, head.Layer, to)
	}
	if err != nil {
		return fmt.Errorf("rename layer %q: %w", name, err)
	}
	return nil
}

// A Commit asks for a new version of a layer.
type Commit struct {
	Head    store.Head // of the layer, as the committer knows it
	Kind    layers.Kind
	Tree    layers.Tree
	Base    layers.Tree
	Message string
	Parents []store.ID // nil: the version that Head names, if any
	Form    layers.Form
	On      store.ID // of a disk in a system layer: see [layers.Version]
}

// Commit stores new versions through w, flushes it and moves all heads at once.
// It returns the versions, in order. A commit whose kind, form, tree and base are
// those of its head makes no new version and returns the head's; Parents, when
// given, force one. When a head has moved, nothing is changed and the error is
// [store.ErrMoved].
func (r *Repo) Commit(ctx context.Context, w store.Writer, commits ...Commit) ([]store.ID, error) {
	staged, err := r.Stage(ctx, w, commits...)
	if err != nil {
		return nil, err
	}
	return staged.Versions, staged.Move(ctx)
}

// Staged is a commit whose versions are durable, while no head names them yet.
// The writer that it went through stays open until the heads have moved.
type Staged struct {
	Versions []store.ID // in the order of the commits
	moves    []store.Move
	heads    store.Heads
}

// Stage does the first half of [Repo.Commit]: all but moving the heads. It is
// for who has to note down what the heads will be before they are.
func (r *Repo) Stage(ctx context.Context, w store.Writer, commits ...Commit) (*Staged, error) {
	s := &Staged{Versions: make([]store.ID, len(commits)), heads: r.st.Heads()}
	for i, c := range commits {
		v, err := r.stage(ctx, w, c)
		if err != nil {
			return nil, fmt.Errorf("commit layer %q: %w", c.Head.Name, err)
		}
		s.Versions[i] = v
		if v != c.Head.Version {
			s.moves = append(s.moves, store.Move{Layer: c.Head.Layer, From: c.Head.Version, To: v})
		}
	}
	if err := w.Flush(ctx); err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	return s, nil
}

// Move moves all heads at once. When one has moved meanwhile, nothing is
// changed and the error is [store.ErrMoved].
func (s *Staged) Move(ctx context.Context) error {
	if len(s.moves) == 0 {
		return nil
	}
	if err := s.heads.CompareAndSwap(ctx, s.moves...); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// stage writes the version that c asks for, or returns the head's if it would
// be the same.
func (r *Repo) stage(ctx context.Context, w store.Putter, c Commit) (store.ID, error) {
	v := layers.Version{
		Layer:   c.Head.Layer,
		Kind:    c.Kind,
		Parents: c.Parents,
		Time:    time.Now().UTC(),
		Device:  r.device,
		Message: c.Message,
		Form:    c.Form,
		On:      c.On,
	}
	var err error
	if v.Tree, err = manifest.WriteTree(ctx, w, c.Tree); err != nil {
		return store.ID{}, fmt.Errorf("write tree: %w", err)
	}
	if v.Base, err = manifest.WriteTree(ctx, w, c.Base); err != nil {
		return store.ID{}, fmt.Errorf("write base: %w", err)
	}
	if head := c.Head.Version; v.Parents == nil && !head.IsZero() {
		last, err := manifest.ReadVersion(ctx, r.st, head)
		if err != nil {
			return store.ID{}, err
		}
		if last.Kind == v.Kind && last.Form == v.Form && last.On == v.On && last.Tree == v.Tree && last.Base == v.Base {
			return head, nil
		}
		v.Parents = []store.ID{head}
	}
	return manifest.WriteVersion(ctx, w, v)
}

// Rollback makes a new version of a layer, with the tree and base of the older
// version whose ID begins with the digits in version, and returns its ID. It
// fails with [ErrPartial] when the store has only that version's record.
func (r *Repo) Rollback(ctx context.Context, name, version string) (store.ID, error) {
	// Before the version is looked at: what it has then stays until w is closed.
	w, err := r.st.Begin(ctx, "roll back layer "+name)
	if err != nil {
		return store.ID{}, fmt.Errorf("roll back layer %q: %w", name, err)
	}
	defer w.Close()
	old, err := r.Resolve(ctx, name+"@"+version)
	if err != nil {
		return store.ID{}, err
	}
	if old.ID == old.Head.Version {
		return old.ID, nil
	}
	v := old.Version
	v.Parents = []store.ID{old.Head.Version}
	v.Time, v.Device = time.Now().UTC(), r.device
	v.Message = "roll back to " + old.ID.Short()
	id, err := manifest.WriteVersion(ctx, w, v)
	if err == nil {
		err = w.Flush(ctx)
	}
	if err == nil {
		err = r.st.Heads().CompareAndSwap(ctx, store.Move{Layer: old.Head.Layer, From: old.Head.Version, To: id})
	}
	if err != nil {
		return store.ID{}, fmt.Errorf("roll back layer %q: %w", name, err)
	}
	return id, nil
}
