package compose

import (
	"context"
	"fmt"

	"satchel/layers"
	"satchel/store"
)

// A Layer is one version of a layer in a stack.
type Layer struct {
	Name string // for people
	Kind layers.Kind
	Tree layers.Tree
	Base layers.Tree // as in [layers.Version]; may be empty
}

// Compose merges a stack, lowest layer first, into one tree. It reads contents
// from g only where registries meet. The result shares memory with the trees
// of the stack, which must not change any more.
//
// It fails when a tree breaks a rule of trees, with a [layers.PathError], and
// when a content that has to be merged cannot be read. What layers disagree
// about is no error: see [Result.Conflicts].
func Compose(ctx context.Context, g store.Getter, stack []Layer) (*Result, error) {
	c := &composer{
		g:     g,
		stack: stack,
		next:  make([]int, len(stack)),
		links: map[link]string{},
		out:   &Result{g: g, made: map[store.ID][]byte{}},
	}
	if err := c.prepare(); err != nil {
		return nil, fmt.Errorf("compose: %w", err)
	}
	if err := c.walk(ctx); err != nil {
		return nil, fmt.Errorf("compose: %w", err)
	}
	if err := c.settleAlternatives(ctx); err != nil {
		return nil, fmt.Errorf("compose: %w", err)
	}
	return c.out, nil
}

// A composer is the state of one pass.
type composer struct {
	g     store.Getter
	stack []Layer
	next  []int // for each layer, the first entry that was not yet seen
	// links has an entry for every file of a layer with several names, and
	// where it is in the result once a name of it was seen.
	links map[link]string
	open  []frame // the directories on the way to the current path
	views []view  // reused by visit
	out   *Result
}

// A link is a file of a layer that has several names, by the first of them.
type link struct {
	layer int
	first string
}

// prepare checks the stack and finds the files with several names.
func (c *composer) prepare() error {
	entries := 0
	for i := range c.stack {
		l := &c.stack[i]
		for _, t := range []layers.Tree{l.Tree, l.Base} {
			if err := t.Check(); err != nil {
				return fmt.Errorf("layer %s: %w", l.Name, err)
			}
		}
		entries += len(l.Tree)
		for j := range l.Tree {
			if e := &l.Tree[j]; e.Type == layers.Hardlink {
				c.links[link{i, e.Target}] = ""
			}
		}
	}
	c.out.Tree = make(layers.Tree, 0, entries+1)
	c.out.owners = make([]int32, 0, entries+1)
	return nil
}
