// Package trees merges two versions of a layer that went different ways.
//
// # Vocabulary
//
// The ancestor is the version that both come from; the sides are ours and
// theirs. A file is what a file system calls an inode: its contents and
// attributes, with one or more names. A path is gone in a tree when it has no
// entry there or a whiteout. A file is kept when it stands beside its own path,
// under a name that tells where it comes from.
//
// # Invariants
//
//   - Nothing is lost: what a side added or changed is in the result, at its
//     path or where the other side moved that, merged into a text or registry,
//     or kept.
//   - What only one side changed is taken as it is, so merging with an
//     unchanged side gives the other side, entry by entry.
//   - The same input gives the same result; with the sides exchanged it has the
//     same contents, though others of them are kept.
//   - The result passes [layers.Tree.Check], and nothing in it lies under what
//     is no directory.
//
// # The one idea
//
// Files and names are merged apart. A name is added, removed or stays; a file
// stays the same file whatever its names are. So a hard link made here and an
// edit made there meet in one file, and a file that was moved is one that lost
// a name and got another.
package trees

import (
	"context"
	"fmt"
	"slices"
	"strings"
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
	// files and sets Size and Extents of e before it returns.
	Get store.Getter
	Put func(ctx context.Context, e *layers.Entry, data []byte) error
}

// A Conflict tells of a path that both sides changed, in ways that do not go
// together.
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

// Merge merges two trees three ways. Contents are read only of files that both
// sides changed. The result shares memory with the input, which must not change
// any more. It fails when reading or storing a content fails, and with a
// [layers.PathError] when a tree breaks a rule of trees.
func Merge(ctx context.Context, in Input) (Output, error) {
	out, err := merge(ctx, in)
	if err != nil {
		return Output{}, fmt.Errorf("merge trees: %w", err)
	}
	return out, nil
}

func merge(ctx context.Context, in Input) (Output, error) {
	if err := check(&in.Ancestor, &in.Ours, &in.Theirs); err != nil {
		return Output{}, err
	}
	m := &merger{
		in:       in,
		ancestor: load(&in.Ancestor), ours: load(&in.Ours), theirs: load(&in.Theirs),
		merged: map[triple]*file{},
	}
	m.ours.follow(m.ancestor)
	m.theirs.follow(m.ancestor)
	m.ours.readdress(m.ancestor, m.theirs)
	m.theirs.readdress(m.ancestor, m.ours)
	places, err := m.decideAll(ctx)
	if err != nil {
		return Output{}, err
	}
	places = m.keepLinked(places)
	places = m.settle(places)
	places = m.placeKept(places)
	out := assemble(places)
	out.Conflicts = m.conflicts
	slices.SortStableFunc(out.Conflicts, func(a, b Conflict) int { return layers.ComparePaths(a.Path, b.Path) })
	return out, check(&Side{Tree: out.Tree, Base: out.Base})
}

func check(sides ...*Side) error {
	for _, s := range sides {
		for _, t := range []layers.Tree{s.Tree, s.Base} {
			if err := t.Check(); err != nil {
				return err
			}
		}
	}
	return nil
}

// A merger is the state of one merge.
type merger struct {
	in                     Input
	ancestor, ours, theirs *version
	merged                 map[triple]*file
	kept                   []kept
	conflicts              []Conflict
}

// A place is what the merge has at one path: a file, a directory, a whiteout,
// or nothing.
type place struct {
	path     string
	file     *file
	dir      *layers.Entry
	whiteout bool
	spare    *layers.Entry // the directory, if something in it survives
	base     *layers.Entry
}

// live reports whether there is more at the place than a whiteout.
func (p *place) live() bool { return p.file != nil || p.dir != nil }

// assemble makes the output's trees of all places. The first name of a file
// carries it, the others are links to that.
func assemble(places []place) Output {
	out := Output{Tree: make(layers.Tree, 0, len(places))}
	for i := range places {
		p := &places[i]
		var e layers.Entry
		switch {
		case p.dir != nil:
			e = *p.dir
		case p.whiteout:
			e = layers.Entry{Type: layers.Whiteout}
		case p.file != nil:
			e = *p.file.entry
			if p.file.carrier != "" {
				e = layers.Entry{Type: layers.Hardlink, Target: p.file.carrier}
			} else {
				p.file.carrier = p.path
			}
		default:
			continue
		}
		e.Path = p.path
		out.Tree = append(out.Tree, e)
		if p.base != nil {
			b := *p.base
			b.Path = p.path
			out.Base = append(out.Base, b)
		}
	}
	return out
}

// under reports whether path lies below dir, at any depth.
func under(path, dir string) bool {
	if dir == "" {
		return path != ""
	}
	return len(path) > len(dir) && path[len(dir)] == '/' && strings.HasPrefix(path, dir)
}
