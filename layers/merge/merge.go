// Package merge joins files that several layers of a stack write to.
//
// # Vocabulary
//
// A registry is a file to which many owners add records of their own: the
// package database, the user list, the login shells. A layer that holds such a
// file has recorded with it the base, which is what the layers below it had
// there when it was captured. The lower is what the layers below have there
// now, and the upper is what the layer itself holds. A driver knows one format
// of registry: it reads all three as records with keys and merges them three
// ways, record by record.
//
// # Invariants
//
//   - Merging is a pure function of the three contents: the same input gives
//     the same bytes, everywhere.
//   - What only one side changed is applied. When the lower equals the base the
//     result is the upper, byte for byte; when the upper equals the base it is
//     the lower; when both are equal it is that.
//   - Records come in the lower's order, followed by what only the upper has,
//     in the upper's order. Formats whose own tool sorts them are sorted.
//   - A record that both sides changed in different ways is a [Conflict]. The
//     upper's record is then the one kept, as the upper's files are the ones
//     that hide the lower's. Identifiers are never renumbered.
//
// # The one idea
//
// Registries are the only reason why layers would depend on each other's
// contents. With a three-way merge at compose time, each layer keeps its own
// additions and any layer below can be replaced.
//
// [For] finds the driver of a path. The links of update-alternatives follow
// from merged registries; [Alternatives] tells where they must point.
package merge

import (
	"bytes"
	"errors"
	"fmt"
)

// ErrMalformed reports content that does not have its format. The caller keeps
// the upper's file whole, and reports that as a conflict.
var ErrMalformed = errors.New("not in the expected format")

// A Conflict is one thing that layers disagree about.
type Conflict struct {
	Path   string `json:"path"`
	Layer  string `json:"layer,omitempty"` // the upper one of the layers that disagree; drivers leave it to the caller
	Reason string `json:"reason"`          // what they disagree about and what was kept, for people
}

// An Input is a file at which layers meet. A nil content says that the file is
// absent there, which merges like an empty one.
type Input struct {
	Path  string
	Base  []byte // below the upper layer when that was captured
	Lower []byte // below the upper layer now
	Upper []byte // in the upper layer
}

// An Output is a merged file.
type Output struct {
	Data      []byte // nil: the file is to be absent
	Conflicts []Conflict
}

// A Driver merges files of one format.
type Driver interface {
	// Name is the format's name, for people: "dpkg status".
	Name() string
	// Merge merges three ways. It changes none of its input, but its output
	// may share memory with it. It fails with [ErrMalformed].
	Merge(in Input) (Output, error)
}

// codec is a driver made of a format's parts.
type codec struct {
	name string
	// merge is called when all three contents differ.
	merge func(base, lower, upper string) (data string, reasons []string, err error)
}

func (c *codec) Name() string { return c.name }

func (c *codec) Merge(in Input) (Output, error) {
	if data, ok := oneSided(in); ok {
		return Output{Data: data}, nil
	}
	data, reasons, err := c.merge(string(in.Base), string(in.Lower), string(in.Upper))
	if err != nil {
		return Output{}, fmt.Errorf("merge %s as %s: %w", in.Path, c.name, err)
	}
	out := Output{Data: []byte(data)}
	for _, reason := range reasons {
		out.Conflicts = append(out.Conflicts, Conflict{Path: in.Path, Reason: reason})
	}
	return out, nil
}

// oneSided returns the result when at most one side changed the file, or both
// did the same.
func oneSided(in Input) ([]byte, bool) {
	switch {
	case equal(in.Lower, in.Upper), equal(in.Base, in.Lower):
		return in.Upper, true
	case equal(in.Base, in.Upper):
		return in.Lower, true
	}
	return nil, false
}

func equal(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }
