package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"satchel/store/index"
)

// asideSuffix is what the names of packs end in that Forget has set aside.
const asideSuffix = ".damaged"

// Forget takes the damaged chunks that a scrub has found out of the index, so
// that they count as absent and are stored anew when they are put again. What
// is whole in the packs they lie in, or that are damaged otherwise, is copied
// to new packs. The old ones are set aside: a scrub no longer sees them, and
// nothing removes them, should the damage have been in the reading. It fails
// with [store.ErrBusy] while gc or a rebuilding runs.
func (s *Store) Forget(ctx context.Context, found VerifyResult) error {
	unlock, err := s.lockGC()
	if err != nil {
		return err
	}
	defer unlock()
	bad := make([]index.Placed, len(found.Damaged))
	for i, d := range found.Damaged {
		bad[i] = index.Placed{ID: d.ID, Location: d.location}
		s.reader.places.forget(d.ID)
	}
	if err := s.index.Forget(ctx, bad); err != nil {
		return fmt.Errorf("forget damaged chunks: %w", err)
	}
	if err := s.setAside(ctx, found.Torn); err != nil {
		return fmt.Errorf("set damaged packs aside: %w", err)
	}
	return nil
}

// setAside empties packs of what is live and takes them out of the store.
func (s *Store) setAside(ctx context.Context, torn []PackDamage) error {
	names := map[string]bool{}
	for _, p := range torn {
		names[strings.TrimSuffix(filepath.Base(p.File), packSuffix)] = true
	}
	uses, err := s.usesOf(ctx, names)
	if err != nil {
		return err
	}
	if err := s.repack(ctx, uses, &GCResult{}); err != nil {
		return err
	}
	if uses, err = s.usesOf(ctx, names); err != nil {
		return err
	}
	for _, u := range uses {
		if u.Chunks > 0 {
			continue // damaged since the scrub: the next one tells
		}
		if err := s.index.Drop(ctx, []string{u.Name}); err != nil {
			return err
		}
		name := s.packPath(u.Name)
		if err := s.fs.Rename(name, name+asideSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// usesOf returns what is live in some packs.
func (s *Store) usesOf(ctx context.Context, names map[string]bool) ([]index.Use, error) {
	all, err := s.index.Uses(ctx)
	if err != nil {
		return nil, err
	}
	var uses []index.Use
	for _, u := range all {
		if names[u.Name] {
			uses = append(uses, u)
		}
	}
	return uses, nil
}
