// Package decompose sorts the changes of a session into the layers that own
// them.
//
// # Vocabulary
//
// The upper is what a session wrote, in the form of an overlay's upper
// directory: files, whiteouts, opaque directories. The lower is the composed
// tree that it lay on. A change is one path that is different in the two taken
// together than in the lower alone; a directory that went is one change. A rule
// gives a change its kind, and a decision is that kind with its reason. A layer
// holds a path when its tree has an entry there, be it a whiteout.
//
// # Invariants
//
//   - Composing the stack with the new trees gives what the guest saw, except
//     for what was discarded and for the times of directories that were there
//     before.
//   - A change goes to the layer its rule names, or to a higher one where that
//     would hide it: the topmost layer that already holds the path keeps it.
//   - A path that was removed is in no writable layer any more, and is whited
//     out only where a layer below the writable ones provides it.
//   - What was merely touched is no change: a directory with the same mode,
//     owner and extended attributes, a file with the same content and
//     attributes.
//   - Each new base holds what lay below its layer in this session, at the
//     paths that changed, and what the old base held, at the others.
//
// # The one idea
//
// Ownership is decided path by path and in the open, by a table that people
// can read; applying the decisions is then mechanical and loses nothing.
package decompose

import (
	"context"
	"errors"
	"fmt"

	"satchel/layers"
)

// ErrNoBase reports an input that has layers but not their bases: merges of
// what the session did not touch would go wrong later.
var ErrNoBase = errors.New("the bases of the layers are missing")

// Discard is the kind of changes that no layer keeps.
const Discard layers.Kind = "discard"

// An Input is a session that has ended, or a moment of one.
type Input struct {
	Upper layers.Tree // what the session wrote
	Lower layers.Tree // what it lay on: no whiteouts, no opaque directories
	// Owner returns the kind of the topmost layer that provides a path of the
	// lower, or "". It serves explanations only, and may be nil.
	Owner func(path string) layers.Kind
	// Layers has the trees of the writable layers that the lower was composed
	// from, and Bases their bases, by kind.
	Layers, Bases map[layers.Kind]layers.Tree
	// Below returns what the layers below the one of a kind compose to at a
	// path, or nil. Hard links it returns name paths that it knows.
	Below func(kind layers.Kind, path string) *layers.Entry
	// Read returns the content of a file of the upper or the lower. Only what
	// dpkg keeps, configuration files and registries are read.
	Read func(e *layers.Entry) ([]byte, error)
	// Rules give changes their kinds; the zero value is the built-in table.
	Rules Rules
	// Into, when set, is where all changes go that are neither discarded nor
	// local to the device, as a layer on top of the whole lower. The trees in
	// Layers are left alone, but for one of that kind.
	Into layers.Kind
}

// A Result is a layer's new version.
type Result struct {
	Tree, Base layers.Tree
}

// An Output is what becomes of a session's changes.
type Output struct {
	Layers    map[layers.Kind]Result // the layers that changed
	Decisions []Decision             // ordered by path
}

// An Action says what happened to a path.
type Action string

// The actions.
const (
	Added   Action = "added"
	Changed Action = "changed"
	Removed Action = "removed" // with everything under it
)

// A Decision says what became of one change, and why.
type Decision struct {
	Path   string      `json:"path"`
	Action Action      `json:"action"`
	Kind   layers.Kind `json:"kind"`   // of the layer that got it, or "discard"
	Rule   string      `json:"rule"`   // the rule and where it is written
	Reason string      `json:"reason"` // for people
}

// Decompose sorts a session's changes into the writable layers. It is a pure
// function of its input, which it does not change; the result shares memory
// with it. It fails with a [layers.PathError] when a tree breaks a rule of
// trees, with [ErrNoBase], and when reading fails.
func Decompose(ctx context.Context, in Input) (Output, error) {
	if err := in.check(); err != nil {
		return Output{}, fmt.Errorf("decompose: %w", err)
	}
	changes, err := in.changes(ctx)
	if err != nil {
		return Output{}, fmt.Errorf("decompose: %w", err)
	}
	verdicts, err := in.judge(changes)
	if err != nil {
		return Output{}, fmt.Errorf("decompose: %w", err)
	}
	s := in.stack()
	out := Output{Layers: map[layers.Kind]Result{}}
	for i := range changes {
		if err := ctx.Err(); err != nil {
			return Output{}, fmt.Errorf("decompose: %w", err)
		}
		c, v := &changes[i], &verdicts[i]
		if v.kind != Discard {
			s.apply(c, v)
		}
		out.Decisions = append(out.Decisions, in.decision(c, v))
	}
	for i, kind := range s.kinds {
		if l := s.layers[i]; len(l.edits) > 0 {
			out.Layers[kind] = Result{Tree: l.tree(), Base: s.base(i)}
		}
	}
	return out, nil
}

// check reports what makes an input impossible.
func (in *Input) check() error {
	trees := map[string]layers.Tree{"upper": in.Upper, "lower": in.Lower}
	for kind, t := range in.Layers {
		trees["layer "+string(kind)] = t
		if len(t) > 0 && in.Bases == nil {
			return ErrNoBase
		}
	}
	for kind, t := range in.Bases {
		trees["base of layer "+string(kind)] = t
	}
	for name, t := range trees {
		if err := t.Check(); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}
