package main

import (
	"context"
	"path/filepath"

	"satchel/layers"
	"satchel/layers/dir"
	"satchel/layers/seen"
	"satchel/store"
)

// A sight is what the home remembers of an imported directory, from before this
// import and for the next one. Of other sources it remembers nothing.
type sight struct {
	home   *home
	writer store.Writer
	reread bool

	root  string // absolute; empty until recall is called
	known *dir.Known
}

func (s *sight) dir() string { return filepath.Join(s.home.dir, "cache", "seen") }

// recall sets known. After an error it is of use all the same.
func (s *sight) recall(ctx context.Context, source string) (err error) {
	s.known = &dir.Known{}
	if s.root, err = filepath.Abs(source); err != nil || s.reread {
		return err
	}
	s.known, _, err = seen.Load(ctx, s.dir(), s.root, s.home.store, s.writer)
	return err
}

// keep remembers what was found, whose tree has the given root.
func (s *sight) keep(tree layers.Root) error {
	if s.root == "" || s.known.Same {
		return nil
	}
	return seen.Save(s.dir(), s.root, s.known, tree)
}
