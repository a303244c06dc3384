package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"satchel/store"
	"satchel/store/index"
)

// A TornError reports packs that are damaged, so that not everything in them
// could be found. The index was rebuilt from all the rest.
type TornError struct{ Packs []PackDamage }

// Error names all the packs.
func (e *TornError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "the index is rebuilt, but not all chunks could be found in %d damaged packs:", len(e.Packs))
	for _, p := range e.Packs {
		fmt.Fprintf(&b, "\n%s: %s", p.File, p.Reason)
	}
	b.WriteString("\nrun `satchel store verify` to learn what is missing")
	return b.String()
}

// Is reports that a TornError is [store.ErrCorrupt].
func (e *TornError) Is(target error) bool { return target == store.ErrCorrupt }

// Rebuild makes the index anew from the packs, whatever state it is in. Of
// packs whose directory is damaged it names the chunks of the frames that are
// whole, and reports them with a [*TornError] after the rebuilding. Others may
// use the store meanwhile, as far as the old index lets them. It fails with
// [store.ErrBusy] while gc or another rebuilding runs.
func (s *Store) Rebuild(ctx context.Context) error {
	unlock, err := s.lockGC()
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.rebuild(ctx); err != nil {
		var torn *TornError
		if errors.As(err, &torn) {
			return err
		}
		return fmt.Errorf("rebuild index: %w", err)
	}
	return nil
}

func (s *Store) rebuild(ctx context.Context) error {
	name := s.tmp("rebuilt-" + indexName)
	aside := index.New(name, s.fs)
	if err := aside.Create(name + ".new"); err != nil {
		return err
	}
	torn := map[string]PackDamage{}
	if err := s.nameAll(ctx, aside, torn); err != nil {
		return errors.Join(err, os.Remove(name))
	}
	if err := s.index.Replace(ctx, name); err != nil {
		return err
	}
	// Writers may have named packs in the old index since: name them again.
	if err := s.nameAll(ctx, s.index, torn); err != nil {
		return err
	}
	if len(torn) == 0 {
		return nil
	}
	e := &TornError{}
	for _, d := range torn {
		e.Packs = append(e.Packs, d)
	}
	sortDamage(e.Packs)
	return e
}

// nameAll names all packs that x does not know yet.
func (s *Store) nameAll(ctx context.Context, x *index.Index, torn map[string]PackDamage) error {
	files, err := s.packFiles()
	if err != nil {
		return err
	}
	packs, err := x.Packs(ctx)
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, p := range packs {
		known[p.Name] = true
	}
	for _, f := range files {
		if known[f.name] || torn[f.name].File != "" {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		frames, err := s.readDirectory(f.name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if isCorrupt(err) {
			torn[f.name] = PackDamage{File: s.packPath(f.name), Reason: err.Error()}
			frames, err = s.salvage(f.name)
		}
		if err != nil {
			return err
		}
		if err := x.Add(ctx, f.name, f.size, frames); err != nil {
			return err
		}
	}
	return nil
}
