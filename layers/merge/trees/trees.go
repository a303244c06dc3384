// Package trees merges two versions of a layer that went different ways.
package trees

import (
	"context"
	"errors"
	"time"

	"satchel/layers"
	"satchel/store"
)

// A Side is one of the two versions that are merged.
type Side struct {
	Tree, Base layers.Tree // as in [layers.Version]
	Device     string      // where it was made, for the names of kept files
	Time       time.Time   // when
}

// An Input is a merge to be made.
type Input struct {
	// Ancestor has the tree and base of the version that both sides come from;
	// empty when there is none.
	Ancestor Side
	Ours     Side // whose file stays at its name when both have changed it
	Theirs   Side
	// Get reads chunks of any of the trees; Put stores the contents of merged
	// files.
	Get store.Getter
	Put func(ctx context.Context, e *layers.Entry, data []byte) error
}

// A Conflict tells of a path that both sides changed.
type Conflict struct {
	Path   string `json:"path"`
	Kept   string `json:"kept,omitempty"` // where the other side's file is now
	Reason string `json:"reason"`         // what was done, for people
}

// An Output is a merged version.
type Output struct {
	Tree, Base layers.Tree
	Conflicts  []Conflict // ordered by path
}

// Merge merges two trees three ways.
func Merge(ctx context.Context, in Input) (Output, error) { return Output{}, errors.ErrUnsupported }
