package workspace

import (
	"errors"

	"satchel/store"
)

// Foundations are all versions that the records of sessions name, those that
// their captures made included: what a further capture may have to read. Unlike
// [Set.Roots] it names some that may never have come to be.
func (s *Set) Foundations() ([]store.ID, error) {
	ids, err := s.Roots()
	if err != nil {
		return nil, err
	}
	names, err := s.List()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		rec, err := s.LoadSession(name)
		if errors.Is(err, store.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, pin := range rec.Captured {
			if !pin.Version.IsZero() {
				ids = append(ids, pin.Version)
			}
		}
	}
	return ids, nil
}
